/** `tartan plan`: which layouts the volume could have, and which it should. Nothing is changed. */
import { type Command, Option } from 'commander';
import { MIB } from '../../base/units.ts';
import type { PlanEvent } from '../../replicator/plan/contract.ts';
import { CommandFailure, exitCodes } from '../failure.ts';
import { joining, planRequest } from '../plan/plan-request.ts';
import { formatAvailability, planText } from '../plan/plan-text.ts';
import { parseNodeId } from './node-target.ts';
import { parseCount, parsePercent, parseRate } from './numbers.ts';
import { gatherStatus } from './status.ts';
import { addJsonOption, addVolumeOptions, type VolumeOptions } from './volume-options.ts';

const MAX_NODES_JOINING = 1000;
const DEFAULT_TARGET_UNAVAILABILITY = 1e-4;

interface PlanOptions extends VolumeOptions {
  readonly join?: number;
  readonly leave?: number;
  readonly target?: number;
  readonly away?: number;
  readonly rate: number;
}

export function addPlanCommand(program: Command): void {
  const command = program
    .command('plan')
    .description(
      'list the layouts that the volume could have, with what each promises and costs; changes nothing',
    )
    .option('--join <count>', 'as if so many empty nodes like the others were added', parseCount('--join'))
    .option('--leave <id>', 'as if this node were taken away for good', parseNodeId)
    .addOption(
      new Option(
        '--target <percent>',
        "availability that is wanted (default: the volume's own target, or 99.99)",
      ).argParser(parsePercent('--target')),
    )
    .addOption(
      new Option(
        '--away <percent>',
        'how much of the time each node is believed to be away (default: as measured)',
      ).argParser(parsePercent('--away')),
    )
    .addOption(
      new Option('--rate <size>', 'bytes per second that moving data may take')
        .argParser(parseRate)
        .default(100 * MIB, '100M'),
    );
  addJsonOption(addVolumeOptions(command)).action(async (options: PlanOptions) => {
    const report = await gatherStatus(options);
    if (report.capacity.totalBytes === 0) {
      throw new CommandFailure(exitCodes.unavailable, 'the volume does not run; start it first: tartan up');
    }
    const { away } = options;
    const targetUnavailability =
      options.target === undefined
        ? (report.availability.targetUnavailability ?? DEFAULT_TARGET_UNAVAILABILITY)
        : 1 - options.target;
    if (targetUnavailability <= 0 || (away !== undefined && (away <= 0 || away >= 1))) {
      throw new CommandFailure(exitCodes.usage, 'nothing is available or away all of the time or never');
    }
    const request = planRequest(report, {
      targetUnavailability,
      ...(away === undefined ? {} : { nodeUnavailability: away }),
      bytesPerSecond: options.rate,
    });
    const { planLayouts } = await import('../../replicator/plan/planner.ts');
    const plan = planLayouts(
      request,
      eventOf(
        options,
        request.nodes.map(({ id }) => id),
        request,
      ),
    );
    if (options.json === true) process.stdout.write(`${JSON.stringify(plan, null, 2)}\n`);
    else {
      const awayText =
        away === undefined
          ? 'as often as tartan status says'
          : `${Number((100 * away).toFixed(9))}% of it (--away)`;
      process.stdout.write(
        `Wanted: ${formatAvailability(targetUnavailability)} of the time. Each node is taken to be away ${awayText}.\n\n`,
      );
      process.stdout.write(`${planText(plan)}\n`);
    }
  });
}

function eventOf(
  { join, leave }: PlanOptions,
  ids: readonly number[],
  request: Parameters<typeof joining>[0],
): PlanEvent | undefined {
  if (join !== undefined && leave !== undefined) {
    throw new CommandFailure(exitCodes.usage, 'one change at a time: --join or --leave');
  }
  if (join !== undefined) {
    if (join >= 1 && join <= MAX_NODES_JOINING) return joining(request, join);
    throw new CommandFailure(
      exitCodes.usage,
      `--join ${join}: from 1 to ${MAX_NODES_JOINING} nodes can be added`,
    );
  }
  if (leave === undefined) return undefined;
  if (!ids.includes(leave)) {
    throw new CommandFailure(exitCodes.usage, `there is no node ${leave}; this volume has ${ids.join(', ')}`);
  }
  if (ids.length === 1) throw new CommandFailure(exitCodes.usage, 'the only node cannot leave');
  return { kind: 'leave', ids: [leave] };
}
