#!/usr/bin/env node
// Runs on any Node so that an old one gets one line instead of a syntax error. The only place that sets the exit code.
const [major, minor] = process.versions.node.split('.').map(Number);
if (major < 22 || (major === 22 && minor < 12)) {
  console.error(
    `error USAGE: auditkeep needs Node 22.12 or newer, this is ${process.versions.node}; install a newer Node or use npm scripts`,
  );
  process.exitCode = 2;
} else {
  const { main } = await import('../dist/cli/main.js');
  process.exitCode = await main(process.argv.slice(2));
}
