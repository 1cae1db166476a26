/**
 * Shows what a command is doing while it does it: one line a step on standard error, rewritten in place on a terminal and printed
 * once, when the step is over, elsewhere. Results go to standard output and are not its business.
 */
const TICK_MS = 100;

export interface Step {
  /** What it is at now. */
  update(detail: string): void;
  done(detail: string): void;
}

export interface Steps {
  begin(title: string): Step;
  note(text: string): void;
}

export function terminalSteps(stream: NodeJS.WriteStream): Steps {
  return { begin: (title) => beginStep(stream, title), note: (text) => void stream.write(`${text}\n`) };
}

/** For --json and --quiet callers. */
export const silentSteps: Steps = {
  begin: () => ({ update: () => {}, done: () => {} }),
  note: () => {},
};

function beginStep(stream: NodeJS.WriteStream, title: string): Step {
  const startedMs = performance.now();
  const seconds = (): string => `${((performance.now() - startedMs) / 1000).toFixed(1)} s`;
  const line = (mark: string, detail: string): string => `${mark} ${title.padEnd(9)} ${detail}`;
  if (!stream.isTTY) {
    return {
      update: () => {},
      done: (detail) => void stream.write(`${line('-', detail)} (${seconds()})\n`),
    };
  }
  let detail = '';
  const draw = (): void => void stream.write(`\r\x1b[K${line('.', `${detail} ${seconds()}`)}`);
  const timer = setInterval(draw, TICK_MS);
  timer.unref();
  draw();
  return {
    update: (text) => {
      detail = text;
      draw();
    },
    done: (text) => {
      clearInterval(timer);
      stream.write(`\r\x1b[K${line('-', text)} (${seconds()})\n`);
    },
  };
}
