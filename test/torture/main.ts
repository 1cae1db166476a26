/**
 * `npm run torture`: real processes, a real mount, faults drawn from a seed. Ends with 0 if every promise was kept, 1 if not, 64 if it was
 * called wrongly. Whatever happens, no process and no mount is left.
 */
import { EventLog } from './event-log.ts';
import { measureFailover } from './failover.ts';
import { Torture } from './faults.ts';
import { parseOptions, type TortureOptions, usage, WrongUse } from './options.ts';
import { measureRecovery } from './recovery.ts';
import { TortureVolume } from './volume.ts';

const EXIT_FAILED = 1;
const EXIT_USAGE = 64;
const EXIT_INTERRUPTED = 130;
const LOG_TAIL_LINES = 60;

const replay = ({ mode, seconds, seed, nodes, parity }: TortureOptions): string =>
  `npm run torture --${mode === 'faults' ? '' : ` --${mode}`} --seconds ${seconds} --seed ${seed} --nodes ${nodes} --parity ${parity}`;

async function main(options: TortureOptions): Promise<number> {
  const volume = new TortureVolume(options);
  const log = new EventLog(volume.eventFile);
  log.say(`${replay(options)}   in ${volume.base}`);
  const torture = new Torture(volume, log, options);
  let keptLogs: string | undefined;
  let cleaning: Promise<void> | undefined;
  const clean = (): Promise<void> => {
    torture.close();
    cleaning ??= volume.destroy(keptLogs);
    return cleaning;
  };
  for (const name of ['SIGINT', 'SIGTERM'] as const) {
    process.once(name, () => void clean().finally(() => process.exit(EXIT_INTERRUPTED)));
  }
  try {
    if (options.mode === 'failover') await measureFailover(volume, log);
    else if (options.mode === 'recovery') await measureRecovery(volume, log, options);
    else await torture.run();
    log.say('passed');
    return 0;
  } catch (error) {
    keptLogs = `${volume.base}-failed`;
    log.say(`failed: ${error instanceof Error ? error.stack : String(error)}`);
    for (const name of ['mount', 'supervisor']) {
      log.say(`the end of ${name}.log:\n${volume.logTail(name, LOG_TAIL_LINES)}`);
    }
    log.say(`logs are kept in ${keptLogs}; once more: ${replay(options)}`);
    return EXIT_FAILED;
  } finally {
    await clean();
  }
}

function parse(): TortureOptions {
  try {
    return parseOptions(process.argv.slice(2));
  } catch (error) {
    if (!(error instanceof WrongUse)) throw error;
    process.stderr.write(`torture: ${error.message}\n${usage}\n`);
    process.exit(EXIT_USAGE);
  }
}

process.exit(await main(parse()));
