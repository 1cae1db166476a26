/** What is said of findings: the page for people has all kinds, and a line is a line. */
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { findingText, progressText, summaryText } from '../../../src/cli/fsck/check-text.ts';
import { type CheckSummary, type Finding, findingKinds } from '../../../src/fsck/findings.ts';

test('docs/fsck.md has each kind of finding with its severity, and no other', () => {
  const page = readFileSync(new URL('../../../docs/fsck.md', import.meta.url), 'utf8');
  const rows = [...page.matchAll(/^\| `([a-z-]+)` \| (error|warning|note) \|/gm)].map(
    ([, kind, severity]) => [kind, severity],
  );
  const kinds = Object.entries(findingKinds).map(([kind, { severity }]) => [kind, severity]);
  expect(rows.sort()).toEqual(kinds.sort());
});

const finding: Finding = {
  severity: 'error',
  kind: 'links-wrong',
  subject: '/a\nb\x1b[2J',
  detail: 'it counts 2 links and has 1 names',
  advice: 'do something',
  ids: { inode: 5 },
  repairable: true,
  repaired: false,
};

test('a finding is one line that no name can break, and says what to do unless it was done', () => {
  const line = findingText(finding);
  expect(line).toBe('error: /a?b?[2J: it counts 2 links and has 1 names (links-wrong): do something');
  expect(findingText({ ...finding, repaired: true })).toMatch(/^repaired: .*\(links-wrong\)$/);
});

test('progress says how much is left at this rate', () => {
  const progress = { phase: 'extents', done: 3000, total: 9000, bytesRead: 0 } as const;
  expect(progressText(progress, { done: 1000, bytesRead: 0 }, 2)).toBe(
    'extents: 3000 of 9000 inodes, 1000/s, 6 s left',
  );
});

test('a summary tells clean from what is left', () => {
  const summary: CheckSummary = {
    ...{ inodes: 3, segments: 2, mappedBlocks: 7, fragments: 10, bytesRead: 0 },
    ...{ repaired: 0, errors: 0, warnings: 0, notes: 0, unlisted: 0 },
  };
  expect(summaryText(summary)).toBe('3 inodes, 2 segments, 10 fragments: clean');
  expect(summaryText({ ...summary, notes: 2 })).toMatch(/: clean, 2 left over$/);
  expect(summaryText({ ...summary, errors: 1, repaired: 4 })).toMatch(/: 4 repaired, 1 error left$/);
});
