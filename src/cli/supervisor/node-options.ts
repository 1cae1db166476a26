/**
 * How each kind of process runs under Node: memory bounds, and a compiler that is ready early. A mount or a node lives on few, short functions: compiling them
 * at their first call, with feedback collected from the start, saves the first seconds of load from the interpreter. New objects die
 * young: a nursery of full size from the start, cleaned by the thread that filled it, leaves the other processors alone.
 */
const EARLY_COMPILATION = ['--always-sparkplug', '--no-lazy-feedback-allocation', '--no-parallel-scavenge'];

export const SUPERVISOR_NODE_ARGS = ['--max-old-space-size=128', '--max-semi-space-size=2'];
export const STORAGE_NODE_ARGS = [
  '--max-old-space-size=160',
  '--max-semi-space-size=8',
  '--min-semi-space-size=8',
  ...EARLY_COMPILATION,
];
export const MOUNT_NODE_ARGS = [
  '--max-old-space-size=384',
  '--max-semi-space-size=16',
  '--min-semi-space-size=16',
  ...EARLY_COMPILATION,
];
