import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { TestVolume } from './support/volume.ts';

let volume: TestVolume;
beforeAll(() => {
  // What the disk has free changes with what else is on it.
  volume = TestVolume.up({ capacity: '1G' });
});
afterAll(() => volume.destroy());

/** Runs a script in a new directory of the volume; it stops at the first failure. Returns its output. */
function shell(name: string, script: string): string {
  const directory = volume.path(name);
  mkdirSync(directory);
  return execFileSync('bash', ['-euo', 'pipefail', '-c', script], {
    cwd: directory,
    encoding: 'utf8',
    env: { ...process.env, HOME: directory, GIT_CONFIG_GLOBAL: '/dev/null', LC_ALL: 'C' },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
}

describe('everyday programs', () => {
  test('git commits, clones, repacks and finds nothing broken', () => {
    const output = shell(
      'git',
      `git init -q -b main one && cd one
       git config user.email a@example.org && git config user.name a
       for i in $(seq 200); do mkdir -p d$((i % 7)); seq $i > d$((i % 7))/f$i; done
       git add . && git commit -qm first
       sed -i s/1/x/ d1/* && git commit -qam second && git gc -q
       cd .. && git clone -q one two && cd two && git checkout -q HEAD~1 && git checkout -q main
       git fsck --strict 2>&1 && git status --porcelain | wc -l && git log --oneline | wc -l`,
    );
    expect(output.trim().split(/\s+/).slice(-2)).toEqual(['0', '2']);
  });

  test('tar packs and unpacks a tree that compares equal', () => {
    shell(
      'tar',
      `mkdir source && cp -a /usr/include/linux source/
       tar cf all.tar source && mkdir out && tar xf all.tar -C out
       diff -r source out/source && diff -r /usr/include/linux out/source/linux`,
    );
  });

  test('sqlite3 keeps its database whole, with a rollback journal and with a write-ahead log', () => {
    for (const mode of ['delete', 'wal']) {
      const output = shell(
        `sqlite-${mode}`,
        `sqlite3 db "pragma journal_mode=${mode}; create table t(a integer primary key, b text);" >/dev/null
         for i in $(seq 20); do
           sqlite3 db "begin; with recursive n(x) as (select 1 union all select x+1 from n where x<200) insert into t(b) select hex(randomblob(50)) from n; commit;"
         done
         sqlite3 db "update t set b = b || 'x' where a % 3 = 0; delete from t where a % 5 = 0; vacuum;"
         sqlite3 db "pragma integrity_check; select count(*) from t;"`,
      );
      expect(output.trim().split('\n')).toEqual(['ok', '3200']);
    }
  });

  test('rsync -aHAX copies hard links, symbolic links, attributes and times, and then finds nothing to do', () => {
    const output = shell(
      'rsync',
      `mkdir source && cd source
       echo a > plain && ln plain hard && ln -s plain soft && mkfifo pipe && mkdir -m 2750 dir
       setfattr -n user.colour -v tartan plain && touch -d '2001-02-03 04:05:06.123456789' plain
       truncate -s 1M sparse && echo end >> sparse && chown 1234:5678 dir
       cd .. && rsync -aHAX source/ copy/
       rsync -aHAX --itemize-changes --checksum source/ copy/ | wc -l
       test copy/plain -ef copy/hard
       getfattr --only-values -n user.colour copy/plain; echo
       stat -c %y copy/plain; stat -c '%a %u %g' copy/dir`,
    );
    expect(output.trim().split('\n')).toEqual([
      '0',
      'tartan',
      expect.stringContaining('04:05:06.123456789'),
      '2750 1234 5678',
    ]);
  });

  test('make builds, does nothing the second time, and rebuilds what changed', () => {
    const output = shell(
      'make',
      `for i in $(seq 12); do echo "int f$i(void) { return $i; }" > f$i.c; done
       echo 'int main(void) { return 0; }' > main.c
       printf 'app: $(patsubst %%.c,%%.o,$(wildcard *.c))\\n\\tcc -o $@ $^\\n%%.o: %%.c\\n\\tcc -c -o $@ $<\\n' > Makefile
       make -s -j2 && ./app && make -q
       sleep 0.05 && touch f3.c && make -n | grep -c 'cc -c'`,
    );
    expect(output.trim()).toBe('1');
  });

  test('npm packs a package and installs it', () => {
    shell(
      'npm',
      `mkdir -p pack/lib app && cd pack
       echo '{"name":"woven","version":"1.0.0","main":"lib/index.js"}' > package.json
       for i in $(seq 300); do echo "exports.f$i = $i" > lib/m$i.js; done
       echo 'exports.answer = 42' > lib/index.js
       npm pack --silent >/dev/null && cd ../app && echo '{"name":"app","version":"1.0.0"}' > package.json
       npm install --silent --offline --no-audit --no-fund ../pack/woven-1.0.0.tgz
       node -e 'process.exit(require("woven").answer === 42 ? 0 : 1)'`,
    );
    expect(readdirSync(volume.path('npm', 'app', 'node_modules', 'woven', 'lib'))).toHaveLength(301);
  });

  test('df shows what is usable after parity', () => {
    const [, line = ''] = execFileSync('df', ['-B1', volume.mountPoint], { encoding: 'utf8' }).split('\n');
    const [, total = 0] = line.split(/\s+/).map(Number);
    const ratio = total / volume.status().capacity.totalBytes;
    expect(ratio).toBeGreaterThan(0.97);
    expect(ratio).toBeLessThan(1.03);
  });

  test('a directory of many files lists completely while files come and go', () => {
    const directory = volume.path('many');
    mkdirSync(directory);
    for (let index = 0; index < 3000; index++) writeFileSync(join(directory, `kept-${index}`), '');
    const output = execFileSync(
      'bash',
      [
        '-c',
        `(for i in $(seq 500); do touch gone-$i; rm gone-$i; done) & for r in 1 2 3 4 5; do ls -f | grep -c kept; done; wait`,
      ],
      { cwd: directory, encoding: 'utf8' },
    );
    expect(output.trim().split('\n')).toEqual(Array(5).fill('3000'));
  });
});
