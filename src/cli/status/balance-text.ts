/** What balancing says to people. Pure. */
import type { DrainReport } from '../../replicator/balance/balancer.ts';
import type { BalanceReport } from '../../replicator/upkeep.ts';
import { formatSize } from '../volume/sizes.ts';
import { rateText } from './upkeep-text.ts';

export function balanceText(report: BalanceReport): string {
  const { state, bytesLeft, moved, limitBytesPerSecond, bytesPerSecond, draining } = report;
  const parts = [`rebalance: ${stateText(report)}`];
  if (bytesLeft > 0) parts.push(`${formatSize(Math.ceil(bytesLeft))} to move`);
  if (moved > 0) parts.push(`${formatSize(moved)} moved`);
  if (state === 'working' && bytesPerSecond > 0) parts.push(rateText(report));
  if (limitBytesPerSecond > 0) parts.push(`at most ${formatSize(limitBytesPerSecond)}/s`);
  const lines = [parts.join('; ')];
  for (const drain of draining) lines.push(`  node ${drain.id}: ${drainText(drain)}`);
  return lines.join('\n');
}

export function drainText({ bytesLeft, journal }: Pick<DrainReport, 'bytesLeft' | 'journal'>): string {
  if (bytesLeft > 0) return `draining, ${formatSize(bytesLeft)} left`;
  return journal ? 'draining, the journal left' : 'empty';
}

function stateText({ state, reason, paused }: BalanceReport): string {
  if (state === 'paused' || (state === 'idle' && paused)) return 'paused';
  if (state === 'blocked') return `blocked: ${reason}`;
  if (reason !== undefined) return `waiting: ${reason}`;
  return state === 'idle' ? 'everything is where it is meant to be' : state;
}
