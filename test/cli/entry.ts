/** The command line as a process of its own, with the test jobs' worker instead of the product's. */
import { COMMANDS, main } from '../../src/cli/main.ts';
import { createWorkerCommand } from '../../src/cli/worker.ts';
import { TEST_JOBS } from '../jobs/test-jobs.ts';

const others = COMMANDS.filter((command) => command.path[0] !== 'worker');
process.exitCode = await main(process.argv.slice(2), process, [...others, createWorkerCommand(TEST_JOBS)]);
