/** A plan as people read it: one line a layout, the choice marked, and what would help where nothing does. */
import type { Candidate, Layout, Plan, Remedy } from '../../replicator/plan/contract.ts';
import { formatTable } from '../terminal/table.ts';
import { formatSize } from '../volume/sizes.ts';

const SHOWN = 12;
const MINUTE_MS = 60_000;

/** With as many nines as it takes to see a difference. */
export function formatAvailability(unavailability: number): string {
  if (unavailability <= 0) return '100%';
  const digits = Math.min(12, Math.max(1, Math.ceil(-Math.log10(unavailability)) - 1));
  return `${(100 * (1 - unavailability)).toFixed(digits)}%`;
}

function formatDuration(durationMs: number): string {
  if (durationMs < MINUTE_MS) return `${Math.ceil(durationMs / 1000)} s`;
  if (durationMs < 120 * MINUTE_MS) return `${Math.ceil(durationMs / MINUTE_MS)} min`;
  return `${(durationMs / (60 * MINUTE_MS)).toFixed(0)} h`;
}

function shape({ layout }: Candidate): string {
  const { dataFragments, parityFragments, groups } = layout;
  const nodes = groups.reduce((sum, group) => sum + group.length, 0);
  const over = groups.length === 1 ? `${nodes} nodes` : `${nodes} nodes in ${groups.length} groups`;
  return `${dataFragments}+${parityFragments} over ${over}`;
}

/** One group a part: which nodes share segments with each other. */
export function groupsText(groups: Layout['groups']): string {
  return groups.map((group) => group.join(' ')).join(' | ');
}

export function planText(plan: Plan): string {
  const shown = plan.candidates.slice(0, SHOWN);
  if (!shown.includes(plan.choice)) shown.push(plan.choice);
  const rows = shown.map((candidate) => [
    candidate === plan.choice ? '*' : '',
    candidate.actions.join(', '),
    shape(candidate),
    formatAvailability(candidate.unavailability),
    candidate.meetsTarget ? 'yes' : 'no',
    candidate.fits ? formatSize(candidate.usableBytes) : 'does not fit',
    formatSize(candidate.writeBytes),
    formatDuration(candidate.durationMs),
  ]);
  const table = formatTable(
    [
      { title: '' },
      { title: 'CHANGE' },
      { title: 'LAYOUT' },
      { title: 'AVAILABLE', align: 'right' },
      { title: 'TARGET' },
      { title: 'USABLE', align: 'right' },
      { title: 'TO MOVE', align: 'right' },
      { title: 'TIME', align: 'right' },
    ],
    rows,
  );
  const more = plan.candidates.length - shown.length;
  const { groups } = plan.choice.layout;
  const nodes = groups.length > 1 ? [`Its groups of nodes: ${groupsText(groups)}`] : [];
  return [table, ...(more > 0 ? [`and ${more} more that cost more`] : []), '', verdict(plan), ...nodes].join(
    '\n',
  );
}

function verdict(plan: Plan): string {
  switch (plan.why) {
    case 'content':
      return 'Nothing is better than leaving the layout as it is.';
    case 'restores-target':
      return 'The marked layout is the cheapest that meets the target.';
    case 'cheaper':
      return 'The marked layout meets the target, as the present one does, at less cost.';
    case 'best-effort': {
      const helps = plan.remedies.map(remedyText).join('; or ');
      return `No layout meets the target. ${helps === '' ? 'Nothing that was tried would.' : `What would: ${helps}.`}`;
    }
  }
}

export function remedyText(remedy: Remedy): string {
  switch (remedy.kind) {
    case 'add-nodes':
      return `${remedy.count} more node${remedy.count === 1 ? '' : 's'}`;
    case 'allow-parity':
      return `a parity of ${remedy.parityFragments}`;
    case 'better-nodes':
      return `nodes that are away for at most ${(100 * remedy.unavailabilityAtMost).toPrecision(2)}% of the time`;
  }
}
