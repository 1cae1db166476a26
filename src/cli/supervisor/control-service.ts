/** JSON commands over the remote call method `control`: the server's and the client's side. */
import {
  type RpcClient,
  type RpcRequest,
  type RpcResponse,
  rpcMethods,
  rpcStatus,
} from '../../cluster/rpc.ts';
import type { Logger } from '../../platform/platform.ts';
import { CommandFailure, exitCodes } from '../failure.ts';
import type { ControlReply } from './control-messages.ts';

/** The mount point is in use; the user may end its users or insist. */
export class MountBusy extends Error {
  override readonly name = 'MountBusy';
}

/** Answers one control request by `run`, turning what it throws into a reply. */
export async function answerControl(
  request: RpcRequest,
  log: Logger,
  run: (command: unknown) => Promise<unknown>,
): Promise<RpcResponse> {
  let command: unknown;
  try {
    command = JSON.parse(request.body.toString('utf8'));
  } catch (error) {
    return { status: rpcStatus.invalid, body: Buffer.from(`not JSON: ${(error as Error).message}`) };
  }
  let reply: ControlReply<unknown>;
  try {
    reply = { ok: true, value: (await run(command)) ?? null };
  } catch (error) {
    reply = failedReply(error, log);
  }
  return { status: rpcStatus.ok, body: Buffer.from(JSON.stringify(reply)) };
}

function failedReply(error: unknown, log: Logger): ControlReply<never> {
  if (error instanceof MountBusy) {
    return { ok: false, reason: 'busy', exitCode: exitCodes.unavailable, message: error.message };
  }
  if (error instanceof CommandFailure) {
    return { ok: false, reason: 'failed', exitCode: error.exitCode, message: error.message };
  }
  log.error('control-command-failed', { error: error instanceof Error ? error.stack : String(error) });
  return { ok: false, reason: 'failed', exitCode: exitCodes.internal, message: String(error) };
}

/** Sends a command and returns its value. Throws CommandFailure, MountBusy, or RpcError when nobody answers. */
export async function callControl<T>(client: RpcClient, command: object, timeoutMs: number): Promise<T> {
  const reply = await client.call(rpcMethods.control, Buffer.from(JSON.stringify(command)), { timeoutMs });
  if (reply.status !== rpcStatus.ok) {
    throw new CommandFailure(
      exitCodes.unavailable,
      `the control service refused the command: ${reply.body.toString('utf8')}`,
    );
  }
  const answer = JSON.parse(reply.body.toString('utf8')) as ControlReply<T>;
  if (answer.ok) return answer.value;
  if (answer.reason === 'busy') throw new MountBusy(answer.message);
  throw new CommandFailure(answer.exitCode, answer.message);
}
