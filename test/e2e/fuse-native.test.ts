/** The alternative front end: everyday programs on the model through the package fuse-native. */
import * as fs from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, expect, it } from 'vitest';
import { cleanUp, kill, makeMountPoint, shell, startServer } from './fuse-harness.ts';

afterEach(cleanUp);

async function mountModel(mountPoint = makeMountPoint()) {
  const server = startServer({ mountPoint, variant: 'later', frontEnd: 'fuse-native' });
  expect(await server.line()).toBe('mounted');
  return server;
}

it('serves what everyday programs do', async () => {
  const server = await mountModel();
  const d = server.mountPoint;
  const source = join(import.meta.dirname, '../../src');
  await shell(`tar -C ${source} -cf - . | tar -xf -; diff -r ${source} .; rm -r fuse`, d);
  await shell(`mkdir sub; echo content > sub/a; ln sub/a sub/b; ln -s a sub/s; mv sub/b moved`, d);
  expect(await shell('cat sub/s moved; stat -c "%h %a %s" moved; readlink sub/s', d)).toBe(
    'content\ncontent\n2 644 8\na',
  );
  await shell('chmod 600 moved; chown 12:34 moved; truncate -s 3 moved; touch -d @1000000000 moved', d);
  expect(await shell('stat -c "%a %u %g %s %Y" moved; cat moved', d)).toBe('600 12 34 3 1000000000\ncon');
  await shell('setfattr -n user.a -v value moved; mkfifo pipe; rm moved; rmdir sub && exit 1; true', d);
  const file = await fs.open(join(d, 'open'), 'w+');
  await fs.unlink(join(d, 'open'));
  await file.write('still here');
  const { buffer } = await file.read(Buffer.alloc(10), 0, 10, 0);
  expect(buffer.toString()).toBe('still here');
  await file.close();
  const space = await fs.statfs(d);
  expect(space.blocks).toBe(1 << 28);
});

it('writes and reads a large file', async () => {
  const { mountPoint } = await mountModel();
  await shell(
    'head -c 30000000 /dev/urandom > f; sync -f .; cp f g; echo 3 > /proc/sys/vm/drop_caches; cmp f g',
    mountPoint,
  );
});

it('lets go of everything it looked up or opened', async () => {
  const server = await mountModel();
  await shell('mkdir -p a/b; echo x > a/b/c; cat a/b/c; ls -lR . > /dev/null; rm -r a', server.mountPoint);
  server.process.kill('SIGTERM');
  expect(await server.line()).toBe('closed inodes=1 handles=0');
});

it('mounts over what a killed server left behind', async () => {
  const first = await mountModel();
  await kill(first, 'SIGKILL');
  await expect(fs.stat(first.mountPoint)).rejects.toMatchObject({ code: 'ENOTCONN' });
  const second = await mountModel(first.mountPoint);
  expect(await fs.readdir(second.mountPoint)).toEqual([]);
});

it('ends when somebody else unmounts', async () => {
  const server = await mountModel();
  await shell(`umount ${server.mountPoint}`, '/');
  expect(await server.line()).toMatch(/^closed/);
});
