/** What balancing says to people. Pure. */
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
  for (const { id, bytesLeft: left } of draining) {
    lines.push(`  node ${id}: ${left === 0 ? 'empty' : `draining, ${formatSize(left)} left`}`);
  }
  return lines.join('\n');
}

function stateText({ state, reason, paused }: BalanceReport): string {
  if (state === 'paused' || (state === 'idle' && paused)) return 'paused';
  if (state === 'blocked') return `blocked: ${reason}`;
  if (reason !== undefined) return `waiting: ${reason}`;
  return state === 'idle' ? 'everything is where it is meant to be' : state;
}
