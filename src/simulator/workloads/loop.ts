/** The loop that workloads run: one session after the other, a step at a time, whatever happens to the mount. */
import { type Dice, MountLost, type WorkloadContext } from '../contract.ts';
import { Permitted, Session } from './session.ts';

const AFTER_PERMITTED_MS = 50;
/** Operations come in bursts, so that a crash finds several under way or just done, with rest in between, so that a run is quick. */
const REST_CHANCE = 0.15;
const MEAN_REST_MS = 600;
const MEAN_PAUSE_MS = 2;

export function pause(context: WorkloadContext, dice: Dice): Promise<void> {
  return context.sleep(dice.exponential(dice.chance(REST_CHANCE) ? MEAN_REST_MS : MEAN_PAUSE_MS));
}

/** Repeats `step` until the load stops or `step` returns true. It is called with a new session after each loss of the mount. */
export async function repeat(
  context: WorkloadContext,
  workload: string,
  step: (session: Session) => Promise<boolean | undefined>,
): Promise<void> {
  let session: Session | undefined;
  while (!context.stopping) {
    try {
      if (session === undefined || !session.isAlive)
        session = new Session(context, await context.mounted(), workload);
      if ((await step(session)) === true) return;
    } catch (error) {
      if (error instanceof Permitted) await context.sleep(AFTER_PERMITTED_MS);
      else if (!(error instanceof MountLost)) throw error;
    }
  }
}

/** Does something once, again from its beginning when the mount is lost. Nothing may fail any more. */
export async function finish(
  context: WorkloadContext,
  workload: string,
  task: (session: Session) => Promise<void>,
): Promise<void> {
  for (;;) {
    try {
      const session = new Session(context, await context.mounted(), workload);
      await task(session);
      return;
    } catch (error) {
      if (error instanceof Permitted) await context.sleep(AFTER_PERMITTED_MS);
      else if (!(error instanceof MountLost)) throw error;
    }
  }
}
