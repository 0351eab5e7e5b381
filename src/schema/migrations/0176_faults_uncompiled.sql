-- Looking for faults is a query over the catalogs that the planner takes for a large one: servers with LLVM compiled it for
-- 600 ms and then ran it in 5. Breaks nothing: a setting of one function.

alter function retention.partition_faults() set jit = off;
