/** The command line as a process of its own, with everything that the product has. */
import { main } from '../../src/cli/main.ts';

process.exitCode = await main(process.argv.slice(2));
