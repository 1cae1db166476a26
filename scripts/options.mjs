/**
 * Options of scripts that measure: `--help` prints what the script says of itself, and what is not an option ends it with the same text and exit code 64.
 */
import { parseArgs } from 'node:util';

const EXIT_USAGE = 64;

/** The values of `options`, as parseArgs takes them. */
export function readOptions(usage, options) {
  try {
    const { values } = parseArgs({ options: { ...options, help: { type: 'boolean', short: 'h' } } });
    if (!values.help) return values;
    process.stdout.write(usage);
    process.exit(0);
  } catch (error) {
    failUsage(usage, error.message);
  }
}

export function failUsage(usage, message) {
  process.stderr.write(`${message}\n\n${usage}`);
  process.exit(EXIT_USAGE);
}
