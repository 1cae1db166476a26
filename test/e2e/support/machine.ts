/**
 * What the end-to-end tests need of the machine, made once before all of them and taken back behind them: files run beside each other, and
 * none may change for itself what all can see.
 */
import { chmodSync, statSync } from 'node:fs';
import { buildServer } from '../fuse-harness.ts';

const FUSE_DEVICE = '/dev/fuse';

export default async function prepareMachine(): Promise<() => void> {
  await buildServer();
  // For the tests of ordinary users: 0666 nearly everywhere; some containers keep it to root.
  const { mode } = statSync(FUSE_DEVICE);
  chmodSync(FUSE_DEVICE, 0o666);
  return () => chmodSync(FUSE_DEVICE, mode & 0o777);
}
