/** Options of Node for the long-running processes: they bound the heap, so that a leak ends a process and not the machine. */
export const SUPERVISOR_NODE_ARGS = ['--max-old-space-size=128', '--max-semi-space-size=2'];
export const STORAGE_NODE_ARGS = ['--max-old-space-size=160', '--max-semi-space-size=4'];
export const MOUNT_NODE_ARGS = ['--max-old-space-size=384', '--max-semi-space-size=16'];
