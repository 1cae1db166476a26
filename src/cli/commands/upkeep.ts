/**
 * `tartan heal`, `tartan scrub`, `tartan rebalance`, `tartan copies` and `tartan availability`: what is under way, what is asked for, and how fast it may go; `tartan wait`: until it is done.
 * Answered by the mount's process.
 */
import type { Command } from 'commander';
import { CommandFailure, exitCodes } from '../failure.ts';
import { availabilityText } from '../status/availability-text.ts';
import { balanceText } from '../status/balance-text.ts';
import { copiesText } from '../status/copies-text.ts';
import { healText, scrubText } from '../status/upkeep-text.ts';
import type { CopyConditions, UpkeepAction, UpkeepJob } from '../supervisor/control-messages.ts';
import { silentSteps, terminalSteps } from '../terminal/steps.ts';
import { readVolumeFile } from '../volume/volume-file.ts';
import type { VolumeLayout } from '../volume/volume-layout.ts';
import { type Reports, withUpkeep } from './mount-call.ts';
import { parseDuration, parsePercent, parsePerDay, parseRate } from './numbers.ts';
import { addJsonOption, addVolumeOptions, existingVolume, type VolumeOptions } from './volume-options.ts';

const POLL_MS = 250;

const texts: { readonly [Job in UpkeepJob]: (report: Reports[Job]) => string } = {
  heal: healText,
  scrub: scrubText,
  availability: availabilityText,
  balance: balanceText,
  copies: copiesText,
};

export function addUpkeepCommands(program: Command): void {
  const heal = program.command('heal').description('rebuild what lies on nodes that are gone');
  addAction(heal, 'heal', 'status', 'say what is being rebuilt, and how long it will take');
  addAction(heal, 'heal', 'start', 'rebuild at once what lies on nodes that are down');
  addSwitches(heal, 'heal');
  const grace = heal
    .command('grace')
    .description('how long a node is down before it is rebuilt elsewhere')
    .argument('<time>', 'such as 60s, 5m or 2h');
  addJsonOption(addVolumeOptions(grace)).action((time: string, options: VolumeOptions) =>
    act('heal', { kind: 'grace', ms: 1000 * parseDuration(time) }, options),
  );
  const scrub = program.command('scrub').description('read everything, and repair what is damaged');
  addAction(scrub, 'scrub', 'status', 'say how far it is, and what it found');
  addAction(scrub, 'scrub', 'start', 'begin now');
  addSwitches(scrub, 'scrub');
  const every = scrub
    .command('every')
    .description('when to begin by itself')
    .argument('<time>', 'from one end to the next start, such as 30d; off: never');
  addJsonOption(addVolumeOptions(every)).action((time: string, options: VolumeOptions) =>
    act('scrub', { kind: 'every', seconds: time === 'off' ? 0 : parseDuration(time) }, options),
  );
  const rebalance = program
    .command('rebalance')
    .description('empty nodes that are draining, and let use follow room when nodes join');
  addAction(rebalance, 'balance', 'status', 'say what has to move, and how long it will take');
  addAction(rebalance, 'balance', 'start', 'begin now, without waiting for nodes to settle');
  addSwitches(rebalance, 'balance');
  addCopies(program);
  addAvailability(program);
  addWait(program);
}

function addCopies(program: Command): void {
  const copies = program
    .command('copies')
    .description('extra copies of data that is read a lot, to share the load of reading it');
  addAction(copies, 'copies', 'status', 'say what is copied, when, and what is read from which node');
  for (const [name, on, description] of [
    ['on', true, 'copy what is read a lot and hardly written'],
    ['off', false, 'drop all copies, and make none, also over restarts'],
  ] as const) {
    addJsonOption(addVolumeOptions(copies.command(name).description(description))).action(
      (options: VolumeOptions) => act('copies', { kind: 'switch', on }, options),
    );
  }
  addLimit(copies, 'copies');
  const when = copies
    .command('when')
    .description('what counts as read a lot; what is not given stays as it is')
    .option('--reads-per-day <count>', 'times that all data of a segment is read', parsePerDay)
    .option('--busy <rate>', 'bytes per second that are read from the busiest of its nodes', parseRate)
    .option('--window <time>', 'over how long use is measured', parseDuration);
  addJsonOption(addVolumeOptions(when)).action((options: VolumeOptions & CopyOptions) =>
    act('copies', { kind: 'when', ...copyConditions(options) }, options),
  );
}

interface CopyOptions {
  readonly readsPerDay?: number;
  readonly busy?: number;
  readonly window?: number;
}

function copyConditions({ readsPerDay, busy, window }: CopyOptions): Partial<CopyConditions> {
  if (window === 0) throw new CommandFailure(exitCodes.usage, '--window: a second or more is expected');
  return {
    ...(readsPerDay === undefined ? {} : { readsPerDay }),
    ...(busy === undefined ? {} : { busyBytesPerSecond: busy }),
    ...(window === undefined ? {} : { windowSeconds: window }),
  };
}

function addAvailability(program: Command): void {
  const availability = program
    .command('availability')
    .description('how much of the time all data is to be readable, and what is done for it');
  addAction(availability, 'availability', 'status', 'say what is predicted, and what is under way');
  const target = availability
    .command('target')
    .description('let the volume choose its layout so that its data is readable so much of the time')
    .argument('<percent>', 'such as 99.999');
  addJsonOption(addVolumeOptions(target)).action((percent: string, options: VolumeOptions) => {
    const wanted = parsePercent('target')(percent);
    if (wanted > 0 && wanted < 1)
      return act('availability', { kind: 'target', unavailability: 1 - wanted }, options);
    throw new CommandFailure(exitCodes.usage, 'nothing is available all of the time or never');
  });
  const off = availability.command('off').description('keep the layout as it is now, whatever happens');
  addJsonOption(addVolumeOptions(off)).action((options: VolumeOptions) =>
    act('availability', { kind: 'target', unavailability: 0 }, options),
  );
  addAction(availability, 'availability', 'start', 'carry out now what would be chosen after a while');
  addSwitches(availability, 'availability');
}

function addSwitches(parent: Command, job: UpkeepJob): void {
  addAction(parent, job, 'pause', 'stop until it is resumed, also over restarts');
  addAction(parent, job, 'resume', 'go on');
  addLimit(parent, job);
}

function addLimit(parent: Command, job: UpkeepJob): void {
  const limit = parent
    .command('limit')
    .description('how fast it may go at most')
    .argument('<rate>', 'bytes per second, such as 50M; none: as fast as users allow');
  addJsonOption(addVolumeOptions(limit)).action((rate: string, options: VolumeOptions) =>
    act(job, { kind: 'limit', bytesPerSecond: rate === 'none' ? 0 : parseRate(rate) }, options),
  );
}

function addAction(
  parent: Command,
  job: UpkeepJob,
  kind: 'status' | 'start' | 'pause' | 'resume',
  description: string,
): void {
  addJsonOption(addVolumeOptions(parent.command(kind).description(description))).action(
    (options: VolumeOptions) => act(job, { kind }, options),
  );
}

async function act<Job extends UpkeepJob>(job: Job, action: UpkeepAction, options: VolumeOptions) {
  const { layout } = existingVolume(options);
  const report = await withUpkeep(layout, (call) => call(job, action));
  const text = options.json === true ? JSON.stringify(report, null, 2) : texts[job](report);
  process.stdout.write(`${text}\n`);
}

function addWait(program: Command): void {
  const wait = program
    .command('wait')
    .description('wait until work in the background is done')
    .argument(
      '<what>',
      'healed: every byte is as safe as meant; scrubbed: no scrub is under way; adapted: all is laid out as chosen; balanced: draining nodes are empty, and use follows room',
    )
    .option('--timeout <time>', 'give up after so long, with exit code 69', parseDuration);
  addJsonOption(addVolumeOptions(wait)).action(
    async (what: string, options: VolumeOptions & { timeout?: number }) => {
      const { layout } = existingVolume(options);
      const step = (options.json === true ? silentSteps : terminalSteps(process.stderr)).begin(what);
      const endMs = options.timeout === undefined ? undefined : performance.now() + 1000 * options.timeout;
      for (;;) {
        const { isDone, text, report } = await progressOf(what, layout);
        if (isDone) {
          step.done(text);
          if (options.json === true) process.stdout.write(`${JSON.stringify(report)}\n`);
          return;
        }
        step.update(text);
        if (endMs !== undefined && performance.now() >= endMs) {
          throw new CommandFailure(exitCodes.unavailable, `not ${what} in time: ${text}`);
        }
        await new Promise((resolve) => setTimeout(resolve, POLL_MS));
      }
    },
  );
}

async function progressOf(
  what: string,
  layout: VolumeLayout,
): Promise<{ isDone: boolean; text: string; report: Reports[UpkeepJob] }> {
  if (what === 'healed') {
    const report = await withUpkeep(layout, (call) => call('heal', { kind: 'status' }));
    const isDone = report.degradedSegments === 0 && report.inventoryDone;
    return { isDone, text: healText(report), report };
  }
  if (what === 'scrubbed') {
    const report = await withUpkeep(layout, (call) => call('scrub', { kind: 'status' }));
    return { isDone: !report.underWay, text: scrubText(report), report };
  }
  if (what === 'adapted') {
    const report = await withUpkeep(layout, (call) => call('availability', { kind: 'status' }));
    const isDone = report.segmentsKnown && report.segmentsLeft === 0 && report.next === null;
    return { isDone, text: availabilityText(report).split('\n')[0]!, report };
  }
  if (what === 'balanced') {
    const report = await withUpkeep(layout, (call) => call('balance', { kind: 'status' }));
    // One that was added a moment ago may be news to the mount.
    const isKnown = (id: number): boolean => report.nodes.some((node) => node.id === id);
    const isDone =
      report.state === 'idle' && report.reason === undefined && readVolumeFile(layout).nodes.every(isKnown);
    return { isDone, text: balanceText(report).split('\n')[0]!, report };
  }
  throw new CommandFailure(
    exitCodes.usage,
    `wait ${what}: healed, scrubbed, adapted or balanced is expected`,
  );
}
