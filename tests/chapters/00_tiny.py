# %% [markdown] lang="en"
# # A tiny chapter
#
# It took {{build.seconds:.1f}} seconds; the table says {{tiny.eta0.S10:.1f}} dB.

# %% [markdown] lang="zh"
# # 小小的一章
#
# 表中的值是 {{tiny.eta0.S10:.1f}} 分贝。

# %% tags=["setup"] budget_s=20
import os
import time

from IPython.display import display

# %%
time.sleep(0.1)
view = {"application/vnd.jupyter.widget-view+json": {"model_id": "none"}, "text/plain": "Player()"}
display({**view, "image/png": "iVBORw0KGgo="}, raw=True)

# %% [markdown] lang="en"
# ## Twice
#
# Write a function that doubles its input.

# %% [markdown] lang="zh"
# ## 两倍
#
# 写一个把输入加倍的函数。


# %% tags=["exercise"]
def twice(x: float) -> float:
    """Two times x."""
    # SOLUTION
    return x + x  # the answer
    # END SOLUTION


# %% [markdown] tags=["hint"] lang="en"
# What is one and one?

# %% [markdown] tags=["hint"] lang="en"
# Add something to `x`.

# %% [markdown] tags=["hint"] lang="en"
# Add `x`.

# %% [markdown] tags=["hint"] lang="zh"
# 一加一等于几？

# %% [markdown] tags=["hint"] lang="zh"
# 给 `x` 加上什么？

# %% [markdown] tags=["hint"] lang="zh"
# 加上 `x`。

# %% tags=["nbval-check-output"]
try:
    print("twice 3 is", twice(3))
except NotImplementedError:
    print("not attempted yet")

# %% [markdown]
# ---
# The reader's folder is another one here.

# %%
os.path.samefile(os.getcwd(), os.environ["COURSE_HOME"])
