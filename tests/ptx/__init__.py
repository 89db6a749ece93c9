"""An executor of NVIDIA's assembly language PTX on the processor: kernels run as compiled, without a card.

PTX is translated to C (`translate.py`), compiled by gcc (`build.py`) and run by threads that take turns at
barriers (`runtime.h`). Every access is checked as compute-sanitizer's memcheck does. What only a card can
show: speed, launches that overlap, and the order in which its threads run.

The language: https://docs.nvidia.com/cuda/parallel-thread-execution.
"""
