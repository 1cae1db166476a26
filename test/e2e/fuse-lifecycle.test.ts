/** Mounting, unmounting, and processes that die: on either side of the mount. */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, chownSync, writeFileSync } from 'node:fs';
import * as fs from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, expect, it } from 'vitest';
import { cleanUp, kill, makeMountPoint, mountModel, python, shell, startServer } from './fuse-harness.ts';

const run = promisify(execFile);

afterEach(cleanUp);

it('mounts over what a killed server left behind', async () => {
  const first = await mountModel('same-turn');
  const open = await fs.open(join(first.mountPoint, 'open'), 'w');
  await kill(first, 'SIGKILL');
  await expect(fs.stat(first.mountPoint)).rejects.toMatchObject({ code: 'ENOTCONN' });
  const second = await mountModel('same-turn', first.mountPoint);
  expect(await fs.readdir(second.mountPoint)).toEqual([]);
  await open.close().catch(() => undefined);
});

it('refuses a mount point that is in use, is no directory, or is not there', async () => {
  const { mountPoint } = await mountModel('same-turn');
  expect(await startServer({ mountPoint, variant: 'same-turn' }).line()).toBe('failed already-mounted');
  const file = `${makeMountPoint()}/file`;
  writeFileSync(file, '');
  expect(await startServer({ mountPoint: file, variant: 'same-turn' }).line()).toBe('failed not-a-directory');
  const missing = join(makeMountPoint(), 'missing');
  const answer = await startServer({ mountPoint: missing, variant: 'same-turn' }).line();
  expect(answer).toBe('failed no-such-directory');
});

it('ends when somebody else unmounts', async () => {
  const server = await mountModel('same-turn');
  await run('umount', [server.mountPoint]);
  expect(await server.line()).toMatch(/^closed/);
});

it('does not unmount under open files, except lazily', async () => {
  const server = await mountModel('same-turn');
  const file = await fs.open(join(server.mountPoint, 'f'), 'w');
  server.process.kill('SIGTERM');
  expect(await server.line()).toBe('refused in-use');
  server.process.kill('SIGUSR1');
  while ((await shell(`grep -c " ${server.mountPoint} " /proc/self/mountinfo || true`, '/')) !== '0');
  // Whoever has it open goes on, to the end.
  await file.write('late');
  await file.close();
  expect(await server.line()).toMatch(/^closed/);
});

it('writes everything back when it is unmounted', async () => {
  const server = await mountModel('later');
  await fs.writeFile(join(server.mountPoint, 'f'), Buffer.alloc(50_000_000, 7));
  server.process.kill('SIGTERM');
  expect(await server.line()).toMatch(/^closed/);
});

it('makes the kernel forget what changed behind its back', async () => {
  const server = await mountModel('same-turn');
  const path = join(server.mountPoint, 'f');
  const gone = join(server.mountPoint, 'gone');
  await fs.writeFile(path, 'original');
  await fs.writeFile(gone, '');
  await shell('sync -f .', server.mountPoint);
  expect(await fs.readFile(path, 'utf8')).toBe('original');
  server.process.kill('SIGUSR2');
  expect(await server.line()).toBe('invalidated');
  expect(await fs.readFile(path, 'utf8')).toBe('changedl');
  await expect(fs.stat(gone)).rejects.toMatchObject({ code: 'ENOENT' });
});

it('mounts read-only', async () => {
  const mountPoint = makeMountPoint();
  const server = startServer({ mountPoint, variant: 'same-turn', readOnly: true });
  expect(await server.line()).toBe('mounted');
  await expect(fs.writeFile(join(mountPoint, 'f'), '')).rejects.toMatchObject({ code: 'EROFS' });
});

it('mounts for a user without privilege through fusermount3', async () => {
  const mountPoint = makeMountPoint();
  chmodSync(join(mountPoint, '..'), 0o755);
  chownSync(mountPoint, 65534, 65534);
  // fusermount3 wants a user that has a name.
  const asUser = ['setpriv', '--reuid=nobody', '--regid=65534', '--clear-groups'];
  const server = startServer({ mountPoint, variant: 'same-turn' }, asUser);
  expect(await server.line()).toBe('mounted');
  const inside = [...asUser, 'bash', '-c', `cd ${mountPoint} && echo hi > f && cat f && stat -c %u f`];
  expect((await run(inside[0]!, inside.slice(1))).stdout).toBe('hi\n65534\n');
  // Nobody else gets in, not even root.
  await expect(fs.readdir(mountPoint)).rejects.toMatchObject({ code: 'EACCES' });
  server.process.kill('SIGTERM');
  expect(await server.line()).toMatch(/^closed/);
});

it('lets a process be killed that waits for a read', async () => {
  const server = await mountModel('hanging');
  const path = join(server.mountPoint, 'hang');
  await python('import os, sys; os.truncate(os.open(sys.argv[1], os.O_CREAT | os.O_RDWR), 4096)', path);
  const reader = spawn('cat', [path]);
  await untilWaiting(reader.pid!, 'folio_wait');
  const exited = once(reader, 'exit');
  reader.kill('SIGKILL');
  expect((await exited)[1]).toBe('SIGKILL');
});

it('lets a process be killed that waits for an answer', async () => {
  const server = await mountModel('hanging');
  const waiter = spawn('stat', [join(server.mountPoint, 'stuck')]);
  await untilWaiting(waiter.pid!, 'request_wait_answer');
  const exited = once(waiter, 'exit');
  waiter.kill('SIGKILL');
  expect((await exited)[1]).toBe('SIGKILL');
});

it('does not interrupt for a signal that kills nobody, and still lets a later one kill', async () => {
  const server = await mountModel('hanging');
  const program = `
import os, signal, sys
signal.signal(signal.SIGUSR1, lambda *_: print('handled', flush=True))
try: os.stat(sys.argv[1])
finally: print('came back', flush=True)`;
  const waiter = spawn('python3', ['-c', program, join(server.mountPoint, 'stuck')]);
  let printed = '';
  waiter.stdout.setEncoding('utf8').on('data', (text: string) => {
    printed += text;
  });
  await untilWaiting(waiter.pid!, 'request_wait_answer');
  waiter.kill('SIGUSR1');
  // Time enough for the kernel to ask, and to ask again.
  await new Promise((resolve) => setTimeout(resolve, 300));
  expect(printed).toBe('');
  const exited = once(waiter, 'exit');
  waiter.kill('SIGTERM');
  expect((await exited)[1]).toBe('SIGTERM');
  expect(printed).toBe('');
});

/** Until the process waits in that function of the kernel. */
async function untilWaiting(pid: number, kernelFunction: string): Promise<void> {
  for (;;) {
    const stack = await fs.readFile(`/proc/${pid}/stack`, 'utf8');
    if (stack.includes(kernelFunction)) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
