/**
 * The whole check of a volume (src/fsck), with every byte read, at each point of rest: names, extents, live bytes, segments, fragments
 * and their parity, journals and replicas, and nothing left over.
 *
 * Where disks have lied (bits flipped, writes lost), copies may be damaged; that is then repaired, and afterwards nothing may be wrong. Where
 * none has, nothing may be wrong to begin with. What a crash leaves over has to go by itself, in time.
 */

import { type CheckedVolume, checkVolume } from '../../fsck/check-volume.ts';
import type { Finding, FindingKind } from '../../fsck/findings.ts';
import { type Checker, CheckFailed, type ClusterView, type World } from '../contract.ts';

/** Orphans are looked for five seconds after a node is met; a sweep and the frees take their time. */
const LEFT_OVER_MS = 30_000;
const RETRY_MS = 2_000;
const SETTLE_MS = 200;
const MAX_LISTED = 5;

/** What damage to one copy looks like. */
const copyDamage: ReadonlySet<FindingKind> = new Set<FindingKind>([
  'fragment-missing',
  'fragment-wrong',
  'fragment-corrupt',
  'copy-bad',
  'parity-wrong',
  'journal-damaged',
  'journal-differs',
  'replica-incomplete',
  'replica-differs',
]);

export class VolumeCheck implements Checker {
  readonly name = 'volume';

  async phase(cluster: ClusterView, world: World): Promise<void> {
    const endMs = world.scheduler.nowMs + LEFT_OVER_MS;
    const mayBeDamaged = cluster.nodes.some(({ diskHasLied }) => diskHasLied);
    for (let first = true; ; first = false) {
      const volume = checkedVolume(cluster);
      if (volume === undefined) return;
      const findings = await check(volume, first && mayBeDamaged);
      const wrong = findings.filter(
        ({ kind, severity, repaired }) => severity !== 'note' && !(repaired && copyDamage.has(kind)),
      );
      if (wrong.length > 0) throw new CheckFailed(`the volume is not sound: ${listed(wrong)}`);
      const left = findings.filter(({ repaired }) => !repaired);
      if (left.length === 0 && !(first && mayBeDamaged)) return;
      if (left.length > 0 && world.scheduler.nowMs > endMs)
        throw new CheckFailed(`still left over after ${LEFT_OVER_MS} ms: ${listed(left)}`);
      if (left.length > 0) await sleep(world, RETRY_MS);
    }
  }
}

function checkedVolume(cluster: ClusterView): CheckedVolume | undefined {
  const { mount, mountProcess, coordinator, volumeId } = cluster;
  if (mount === undefined || mountProcess === undefined || coordinator === undefined) return undefined;
  const { links, metadata, claims } = mount.volume;
  return { platform: mountProcess.platform, links, metadata, claims, coordinator, volumeId };
}

async function check(volume: CheckedVolume, repair: boolean): Promise<Finding[]> {
  const findings: Finding[] = [];
  const options = { data: true, atRest: false, repair, settleMs: SETTLE_MS };
  for await (const finding of checkVolume(volume, options)) findings.push(finding);
  return findings;
}

function listed(findings: readonly Finding[]): string {
  const shown = findings
    .slice(0, MAX_LISTED)
    .map(({ kind, subject, detail }) => `${kind} ${subject}: ${detail}`);
  return `${findings.length} findings: ${shown.join('; ')}`;
}

function sleep(world: World, delayMs: number): Promise<void> {
  return new Promise((resolve) => world.scheduler.after(delayMs, resolve));
}
