/** `tartan plan`: which layouts the volume could have, and which it should. Nothing is changed. */
import { type Command, Option } from 'commander';
import type { PlanEvent, PlanRequest } from '../../replicator/plan/contract.ts';
import { CommandFailure, exitCodes } from '../failure.ts';
import { joining, supposing } from '../plan/plan-request.ts';
import { formatAvailability, planText } from '../plan/plan-text.ts';
import type { PlanningFacts } from '../supervisor/control-messages.ts';
import { withMount } from './mount-call.ts';
import { parseNodeId } from './node-target.ts';
import { parseCount, parsePercent, parseRate } from './numbers.ts';
import { addJsonOption, addVolumeOptions, existingVolume, type VolumeOptions } from './volume-options.ts';

const MAX_NODES_JOINING = 1000;
const DEFAULT_TARGET_UNAVAILABILITY = 1e-4;

interface PlanOptions extends VolumeOptions {
  readonly join?: number;
  readonly leave?: number;
  readonly target?: number;
  readonly away?: number;
  readonly rate?: number;
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
      new Option(
        '--rate <size>',
        'bytes per second that moving data may take (default: as the nodes were seen to carry)',
      ).argParser(parseRate),
    );
  addJsonOption(addVolumeOptions(command)).action(async (options: PlanOptions) => {
    const { layout } = existingVolume(options);
    const facts = await withMount(layout, (call) => call<PlanningFacts | null>({ command: 'plan' }));
    if (facts === null) {
      throw new CommandFailure(
        exitCodes.unavailable,
        'too few nodes are left to plan anything; see `tartan status`',
      );
    }
    const unknown = facts.nodes.find(({ role, capacityBytes }) => role === 'member' && capacityBytes === 0);
    if (unknown !== undefined) {
      throw new CommandFailure(
        exitCodes.unavailable,
        `node ${unknown.id} has not said yet how large it is: start it, or wait until it counts as gone; see \`tartan status\``,
      );
    }
    const { wantedUnavailability, domainUnavailability, ...asked } = facts;
    const { away, rate } = options;
    const targetUnavailability =
      options.target === undefined
        ? (wantedUnavailability ?? DEFAULT_TARGET_UNAVAILABILITY)
        : 1 - options.target;
    if (targetUnavailability <= 0 || (away !== undefined && (away <= 0 || away >= 1))) {
      throw new CommandFailure(exitCodes.usage, 'nothing is available or away all of the time or never');
    }
    const request = supposing(
      { ...asked, domainUnavailability: new Map(domainUnavailability) },
      {
        targetUnavailability,
        ...(away === undefined ? {} : { nodeUnavailability: away }),
        ...(rate === undefined ? {} : { bytesPerSecond: rate }),
      },
    );
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
  request: PlanRequest,
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
