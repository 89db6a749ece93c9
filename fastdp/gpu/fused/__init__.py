"""The fitting network in one kernel of CUDA C++, beside the one of many launches in `fastdp.gpu.network`."""
