/** What a check says to people. Pure. */
import type { CheckProgress } from '../../fsck/check-volume.ts';
import type { CheckSummary, Finding } from '../../fsck/findings.ts';
import { formatSize } from '../volume/sizes.ts';

const phaseUnits = {
  metadata: 'inodes',
  names: 'inodes',
  extents: 'inodes',
  fragments: 'segments',
  replicas: 'records',
} as const satisfies Record<CheckProgress['phase'], string>;

/** One line, whatever is in the names. */
export function findingText({ severity, kind, subject, detail, advice, repaired }: Finding): string {
  const what = `${subject}: ${detail} (${kind})`;
  const line = repaired ? `repaired: ${what}` : `${severity}: ${what}: ${advice}`;
  // biome-ignore lint/suspicious/noControlCharactersInRegex: names may hold them, and a terminal would obey
  return line.replace(/[\x00-\x1f\x7f]/g, '?');
}

export function progressText(
  { phase, done, total, bytesRead }: CheckProgress,
  startedAt: { readonly done: number; readonly bytesRead: number },
  seconds: number,
): string {
  const rate = seconds > 0 ? (done - startedAt.done) / seconds : 0;
  const parts = [`${phase}: ${done} of ${Math.max(done, total)} ${phaseUnits[phase]}`];
  if (rate > 0) {
    parts.push(`${Math.round(rate)}/s`);
    if (bytesRead > startedAt.bytesRead) {
      parts.push(`${formatSize((bytesRead - startedAt.bytesRead) / seconds)}/s`);
    }
    parts.push(`${Math.ceil(Math.max(total - done, 0) / rate)} s left`);
  }
  return parts.join(', ');
}

export function summaryText(summary: CheckSummary): string {
  const { inodes, segments, fragments, bytesRead, errors, warnings, notes, repaired, unlisted } = summary;
  const verdict = [
    ...(repaired > 0 ? [`${repaired} repaired`] : []),
    ...(errors > 0 ? [`${errors} ${errors === 1 ? 'error' : 'errors'} left`] : []),
    ...(warnings > 0 ? [`${warnings} ${warnings === 1 ? 'warning' : 'warnings'}`] : []),
    ...(unlisted > 0 ? [`${unlisted} not listed`] : []),
  ];
  if (errors + warnings === 0) verdict.push(notes > 0 ? `clean, ${notes} left over` : 'clean');
  const read = bytesRead > 0 ? `, ${formatSize(bytesRead)} read` : '';
  return `${inodes} inodes, ${segments} segments, ${fragments} fragments${read}: ${verdict.join(', ')}`;
}
