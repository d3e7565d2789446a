"""Everything that only a GPU can prove, in one go of at most nine minutes (tools/gpu-check)."""
