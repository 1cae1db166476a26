/** What programs do to files, through the kernel, on the model: answering in the same turn, and later. */
import { execFile } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import * as fs from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { cleanUp, mountModel, python, type Server, shell } from './fuse-harness.ts';

const run = promisify(execFile);
/** Package acl. */
const hasAclTools = existsSync('/usr/bin/setfacl');

afterAll(cleanUp);

describe.each(['same-turn', 'later'] as const)('a file system that answers: %s', (variant) => {
  let server: Server;
  let root: string;
  beforeAll(async () => {
    server = await mountModel(variant);
    root = server.mountPoint;
  });
  /** A fresh directory for each test. */
  const inDirectory = async (name: string) => {
    const path = join(root, name);
    await fs.mkdir(path);
    return path;
  };

  it('reads back what was written, also after the caches were dropped', async () => {
    const path = join(await inDirectory('data'), 'file');
    const bytes = randomBytes(20_000_123);
    await fs.writeFile(path, bytes);
    await shell('sync -f .; echo 3 > /proc/sys/vm/drop_caches', root);
    const read = await fs.readFile(path);
    expect(createHash('sha256').update(read).digest('hex')).toBe(
      createHash('sha256').update(bytes).digest('hex'),
    );
  });

  it('renames, links and removes as POSIX says', async () => {
    const d = await inDirectory('names');
    await fs.writeFile(`${d}/a`, 'a');
    await fs.link(`${d}/a`, `${d}/b`);
    expect((await fs.stat(`${d}/a`)).nlink).toBe(2);
    await fs.rename(`${d}/a`, `${d}/b`);
    // Two names of one inode: nothing happens.
    expect((await fs.readdir(d)).sort()).toEqual(['a', 'b']);
    await fs.mkdir(`${d}/full/sub`, { recursive: true });
    await fs.mkdir(`${d}/empty`);
    await expect(fs.rename(`${d}/empty`, `${d}/full`)).rejects.toMatchObject({ code: 'ENOTEMPTY' });
    await fs.rename(`${d}/full`, `${d}/empty`);
    await expect(fs.rename(`${d}/empty`, `${d}/empty/sub/x`)).rejects.toMatchObject({ code: 'EINVAL' });
    expect((await fs.stat(`${d}/empty`)).nlink).toBe(3);
    await expect(fs.rename(`${d}/a`, `${d}/empty`)).rejects.toMatchObject({ code: 'EISDIR' });
    await fs.symlink('b', `${d}/s`);
    expect(await fs.readFile(`${d}/s`, 'utf8')).toBe('a');
    expect(await fs.readlink(`${d}/s`)).toBe('b');
    await expect(fs.rmdir(`${d}/empty`)).rejects.toMatchObject({ code: 'ENOTEMPTY' });
    await fs.rm(d, { recursive: true });
    await expect(fs.stat(d)).rejects.toMatchObject({ code: 'ENOENT' });
  });

  it('renames without replacing, and exchanges', async () => {
    const d = await inDirectory('rename2');
    await fs.writeFile(`${d}/a`, 'a');
    await fs.mkdir(`${d}/b`);
    const renameat2 = `
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
r = libc.renameat2(-100, sys.argv[1].encode(), -100, sys.argv[2].encode(), int(sys.argv[3]))
print(os.strerror(ctypes.get_errno()) if r else 'ok')`;
    expect(await python(renameat2, `${d}/a`, `${d}/b`, '1')).toBe('File exists');
    expect(await python(renameat2, `${d}/a`, `${d}/b`, '2')).toBe('ok');
    expect((await fs.stat(`${d}/a`)).isDirectory()).toBe(true);
    expect(await fs.readFile(`${d}/b`, 'utf8')).toBe('a');
    expect(await python(renameat2, `${d}/b`, `${d}/c`, '1')).toBe('ok');
  });

  it('keeps extended attributes', async () => {
    const d = await inDirectory('xattrs');
    const program = `
import os, sys, errno
p = sys.argv[1] + '/f'
open(p, 'w').close()
os.setxattr(p, 'user.a', b'1'); os.setxattr(p, 'user.big', b'x' * 65536); os.setxattr(p, 'trusted.t', b'')
assert sorted(os.listxattr(p)) == ['trusted.t', 'user.a', 'user.big'], os.listxattr(p)
assert os.getxattr(p, 'user.big') == b'x' * 65536 and os.getxattr(p, 'trusted.t') == b''
def fails(code, call, *args):
    try: call(*args)
    except OSError as e: assert e.errno == code, e
    else: raise AssertionError('no error')
fails(errno.EEXIST, os.setxattr, p, 'user.a', b'2', os.XATTR_CREATE)
fails(errno.ENODATA, os.setxattr, p, 'user.n', b'2', os.XATTR_REPLACE)
os.removexattr(p, 'user.a')
fails(errno.ENODATA, os.getxattr, p, 'user.a')
fails(errno.EOPNOTSUPP, os.setxattr, p, 'system.other', b'x')
print('ok')`;
    expect(await python(program, d)).toBe('ok');
  });

  it('maps files shared and private', async () => {
    const d = await inDirectory('mmap');
    const program = `
import mmap, os, sys
p = sys.argv[1] + '/f'
with open(p, 'wb') as f: f.write(b'a' * 10000)
with open(p, 'r+b') as f:
    shared = mmap.mmap(f.fileno(), 0); private = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_COPY)
    shared[5000:5004] = b'shrd'; private[0:4] = b'priv'
    assert open(p, 'rb').read()[5000:5004] == b'shrd'
    f.seek(100); f.write(b'written'); f.flush()
    assert shared[100:107] == b'written'
    shared.flush(); shared.close()
assert open(p, 'rb').read(4) == b'aaaa'
print('ok')`;
    expect(await python(program, d)).toBe('ok');
    await shell('echo 3 > /proc/sys/vm/drop_caches', '/');
    expect((await fs.readFile(`${d}/f`)).subarray(5000, 5004).toString()).toBe('shrd');
  });

  it('appends from several processes without losing anything', async () => {
    const d = await inDirectory('append');
    await shell('for i in 1 2 3 4; do (for j in $(seq 200); do echo "$i $j" >> f; done) & done; wait', d);
    const lines = (await fs.readFile(`${d}/f`, 'utf8')).trim().split('\n');
    expect(new Set(lines).size).toBe(800);
  });

  it('keeps direct and buffered access to one file coherent', async () => {
    const d = await inDirectory('direct');
    const program = `
import mmap, os, sys
p = sys.argv[1] + '/f'
fd = os.open(p, os.O_CREAT | os.O_RDWR | os.O_DIRECT, 0o644); plain = os.open(p, os.O_RDWR)
m = mmap.mmap(-1, 1 << 20); m.write(b'd' * (1 << 20)); m.seek(0)
assert os.writev(fd, [m]) == 1 << 20
assert os.pread(plain, 10, 4090) == b'd' * 10
os.pwrite(plain, b'b' * 8192, 4096)
assert os.preadv(fd, [m], 0) == 1 << 20
assert m[0:4096] == b'd' * 4096 and m[4096:12288] == b'b' * 8192 and m[12288] == ord('d')
print('ok')`;
    expect(await python(program, d)).toBe('ok');
  });

  it('punches holes, zeroes, extends, and finds holes', async () => {
    const d = await inDirectory('holes');
    const program = `
import os, sys, errno, ctypes
libc = ctypes.CDLL(None, use_errno=True)
def fallocate(mode, off, length):
    if libc.fallocate(fd, mode, ctypes.c_long(off), ctypes.c_long(length)): raise OSError(ctypes.get_errno(), 'fallocate')
p = sys.argv[1] + '/f'
fd = os.open(p, os.O_CREAT | os.O_RDWR, 0o644)
os.pwrite(fd, b'x' * 65536, 0); os.pwrite(fd, b'end', 1 << 40); os.fsync(fd)
assert os.fstat(fd).st_size == (1 << 40) + 3
assert os.lseek(fd, 0, os.SEEK_HOLE) == 65536 and os.lseek(fd, 65536, os.SEEK_DATA) == 1 << 40
fallocate(3, 4096, 8192)
assert os.lseek(fd, 0, os.SEEK_HOLE) == 4096 and os.lseek(fd, 4096, os.SEEK_DATA) == 12288
assert os.pread(fd, 65536, 0) == b'x' * 4096 + bytes(8192) + b'x' * (65536 - 12288)
fallocate(16, 100, 100)
assert os.pread(fd, 300, 0) == b'x' * 100 + bytes(100) + b'x' * 100
try: os.lseek(fd, 1 << 41, os.SEEK_DATA)
except OSError as e: assert e.errno == errno.ENXIO
os.ftruncate(fd, 10)
fallocate(0, 0, 100000); assert os.fstat(fd).st_size == 100000
fallocate(1, 0, 200000); assert os.fstat(fd).st_size == 100000
assert os.pread(fd, 100, 5) == b'x' * 5 + bytes(95)
print('ok')`;
    expect(await python(program, d)).toBe('ok');
  });

  it('keeps a file that is open after its last name went', async () => {
    const d = await inDirectory('unlinked');
    const file = await fs.open(`${d}/f`, 'w+');
    await file.write('still here');
    await fs.unlink(`${d}/f`);
    expect((await file.stat()).nlink).toBe(0);
    const { buffer } = await file.read(Buffer.alloc(10), 0, 10, 0);
    expect(buffer.toString()).toBe('still here');
    await file.close();
  });

  it('lists a directory of 20,000 names, and changes to it', async () => {
    const d = await inDirectory('many');
    await shell('for i in $(seq 20000); do : > name-$i; done', d);
    expect(new Set(await fs.readdir(d)).size).toBe(20_000);
    await fs.unlink(`${d}/name-7`);
    await fs.writeFile(`${d}/new`, '');
    const names = new Set(await fs.readdir(d));
    expect([names.size, names.has('name-7'), names.has('new')]).toEqual([20_000, false, true]);
    await fs.rm(d, { recursive: true });
  });

  it('takes names of 255 bytes of any value, and no longer ones', async () => {
    const d = await inDirectory('long');
    const longest = `${'ä'.repeat(127)}x`;
    await fs.writeFile(`${d}/${longest}`, '');
    const bytes = Buffer.concat([Buffer.from(`${d}/`), Buffer.from([0xff, 0xfe, 0x01])]);
    await fs.writeFile(bytes, 'odd');
    expect((await fs.readFile(bytes)).toString()).toBe('odd');
    const names = await fs.readdir(d, { encoding: 'buffer' });
    expect(names.map((name) => name.toString('latin1')).sort()).toContain('\xff\xfe\x01');
    await expect(fs.writeFile(`${d}/${longest}y`, '')).rejects.toMatchObject({ code: 'ENAMETOOLONG' });
  });

  it('gives files to who made them, and checks permission', async () => {
    const d = await inDirectory('owners');
    await fs.chmod(d, 0o1777);
    const asOther = (command: string) =>
      run('setpriv', ['--reuid=1234', '--regid=2345', '--clear-groups', 'bash', '-c', command], { cwd: d });
    await asOther('umask 027; echo mine > f; mkdir sub');
    const stat = await fs.stat(`${d}/f`);
    expect([stat.uid, stat.gid, stat.mode & 0o7777]).toEqual([1234, 2345, 0o640]);
    await fs.writeFile(`${d}/secret`, 'root only', { mode: 0o600 });
    await expect(asOther('cat secret')).rejects.toThrow('Permission denied');
    await expect(asOther('rm -f secret')).rejects.toThrow('Operation not permitted');
    await fs.mkdir(`${d}/group`);
    await fs.chown(`${d}/group`, 0, 2345);
    await fs.chmod(`${d}/group`, 0o2775);
    await asOther('mkdir group/sub; touch group/f');
    const inherited = await fs.stat(`${d}/group/sub`);
    expect([inherited.gid, inherited.mode & 0o2000]).toEqual([2345, 0o2000]);
  });

  it('drops set-user-id when the file changes content or owner', async () => {
    const d = await inDirectory('suid');
    const modeOf = async (name: string) => ((await fs.stat(`${d}/${name}`)).mode & 0o7777).toString(8);
    for (const name of ['written', 'truncated', 'opened', 'given', 'kept']) {
      await fs.writeFile(`${d}/${name}`, 'x');
      await fs.chmod(`${d}/${name}`, 0o6777);
    }
    const command = 'echo y >> written; truncate -s 0 truncated; : > opened';
    await run('setpriv', ['--reuid=1234', '--regid=2345', '--clear-groups', 'bash', '-c', command], {
      cwd: d,
    });
    await fs.chown(`${d}/given`, 1234, 2345);
    await fs.appendFile(`${d}/kept`, 'by root');
    expect(await modeOf('written')).toBe('777');
    expect(await modeOf('truncated')).toBe('777');
    expect(await modeOf('opened')).toBe('777');
    expect(await modeOf('given')).toBe('777');
    expect(await modeOf('kept')).toBe('6777');
  });

  it.skipIf(!hasAclTools)('follows access control lists as the file system of /tmp does', async () => {
    const script = `
      umask 027; export LC_ALL=C; chmod 755 .; mkdir -m 711 all; cd all
      mkdir plain; touch plain/f
      mkdir d; setfacl -m d:u:1234:rwx,d:g:2345:r-x,d:o::- d
      touch d/f; mkdir d/sub; mkfifo d/pipe; (umask 0; touch d/open; mkdir -m 700 d/closed)
      touch g; setfacl -m u:1234:rw g; chmod 640 g; chmod g+s g
      touch h; setfacl -m u:1234:rw h; setfacl -b h; chmod 4755 h; setfacl -m u::r,g::r,o::- h
      touch i; setfacl -m u:1234:r,m::rwx i; setfacl -x u:1234 i
      setfacl -k d/sub; touch d/sub/later
      for name in $(find . | sort); do getfacl -n $name; stat -c '%n %a' $name; done
      echo secret > s; chmod 600 s; setfacl -m u:1234:r s
      setpriv --reuid=1234 --regid=1 --clear-groups cat s
      setpriv --reuid=1235 --regid=1 --clear-groups cat s || echo refused`;
    const d = await inDirectory('acl');
    const reference = await fs.mkdtemp('/tmp/tartan-acl-');
    try {
      const expected = await shell(script, reference);
      expect(await shell(script, d)).toBe(expected);
      expect(expected).toContain('user:1234');
    } finally {
      await fs.rm(reference, { recursive: true });
    }
  });

  it('keeps times to the nanosecond, before 1970 too', async () => {
    const d = await inDirectory('times');
    const program = `
import os, sys
p = sys.argv[1] + '/f'
open(p, 'w').close()
os.utime(p, ns=(-1_500_000_001, 1_700_000_000_123_456_789))
s = os.stat(p)
print(s.st_atime_ns, s.st_mtime_ns)`;
    expect(await python(program, d)).toBe('-1500000001 1700000000123456789');
    await shell('echo 3 > /proc/sys/vm/drop_caches', '/');
    expect(await shell('stat -c "%x %y" f', d)).toContain('1969-12-31');
  });

  it('locks files between processes', async () => {
    const d = await inDirectory('locks');
    const program = `
import fcntl, os, subprocess, sys
p = sys.argv[1] + '/f'
f = open(p, 'w')
try_lock = "import fcntl,sys\\nf=open(sys.argv[1],'r+')\\ntry: fcntl.%s(f, fcntl.LOCK_EX|fcntl.LOCK_NB); print('got')\\nexcept OSError: print('busy')"
def attempt(kind): return subprocess.run([sys.executable, '-c', try_lock % kind, p], capture_output=True, text=True).stdout.strip()
fcntl.lockf(f, fcntl.LOCK_EX); print(attempt('lockf')); fcntl.lockf(f, fcntl.LOCK_UN); print(attempt('lockf'))
fcntl.flock(f, fcntl.LOCK_EX); print(attempt('flock')); fcntl.flock(f, fcntl.LOCK_UN); print(attempt('flock'))`;
    expect((await python(program, d)).split('\n')).toEqual(['busy', 'got', 'busy', 'got']);
  });

  it('makes device nodes, pipes and sockets', async () => {
    const d = await inDirectory('nodes');
    await shell('mknod null c 1 3; mkfifo pipe; (echo through > pipe &); cat pipe > got; echo x > null', d);
    expect(await shell('stat -c "%F %t %T" null; stat -c %F pipe; cat got', d)).toBe(
      'character special file 1 3\nfifo\nthrough',
    );
  });

  it('tells its space', async () => {
    const space = await fs.statfs(root);
    expect([space.bsize, space.blocks]).toEqual([4096, 1 << 28]);
    expect(space.bavail).toBeLessThan(1 << 28);
  });

  it('is unpacked into by tar and compared by diff and rsync', async () => {
    const d = await inDirectory('tools');
    const source = join(import.meta.dirname, '../../src');
    await shell(`tar -C ${source} -cf - . | tar -xf -; diff -r ${source} .`, d);
    const copy = await inDirectory('copy');
    await shell(`cp -a ${d}/. . && diff -r ${d} .`, copy);
  });

  it('forgets what is gone: unmounting leaves the root alone', async () => {
    await shell('rm -rf ./*', root);
    server.process.kill('SIGTERM');
    expect(await server.line()).toBe('closed inodes=1 handles=0');
  });
});
