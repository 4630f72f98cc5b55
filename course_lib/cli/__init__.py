"""The commands: lab, test, build, doctor."""
