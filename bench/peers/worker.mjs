// BullMQ as its documentation has it: a job a message, a worker with a concurrency, undici and pg behind pools.
// WRITE_AHEAD=1: a row before each POST, so that a crash does not send twice.
//   node worker.mjs work CONCURRENCY | node worker.mjs enqueue COUNT
import { createHash, randomBytes } from 'node:crypto';
import { Queue, Worker } from 'bullmq';
import { Redis } from 'ioredis';
import pg from 'pg';
import { Pool } from 'undici';

const connection = new Redis(process.env.REDIS_URL, { maxRetriesPerRequest: null });
const [role, count] = [process.argv[2], Number(process.argv[3])];

if (role === 'enqueue') {
  const queue = new Queue('messages', { connection });
  for (let first = 0; first < count; first += 1000) {
    const jobs = [];
    for (let n = first; n < Math.min(first + 1000, count); n++) {
      jobs.push({ name: 'send', data: { n, to: `4474${String(n + 10000000).padStart(8, '0')}`, name: `Name ${n}` } });
    }
    await queue.addBulk(jobs.map((job) => ({ ...job, opts: { removeOnComplete: true } })));
  }
  await queue.close();
  connection.disconnect();
} else {
  const vendor = new URL(process.env.VENDOR_URL);
  const http = new Pool(vendor.origin, { connections: count, pipelining: 1 });
  const database = new pg.Pool({ connectionString: process.env.PG_URL, max: 20 });
  const ahead = process.env.WRITE_AHEAD === '1';
  const worker = new Worker('messages', async (job) => {
    if (ahead) {
      const opened = await database.query(
        "INSERT INTO results (n, recipient, status) VALUES ($1, $2, 'sending') ON CONFLICT DO NOTHING", [job.data.n, job.data.to]);
      if (!opened.rowCount) return;
    }
    const content = JSON.stringify({ body: `Hello ${job.data.name}, your spring voucher V-${job.data.n} is good until Sunday.` });
    const body = { Action: 'SendMessage', BusinessPhone: '8615000579987', Content: content, To: job.data.to, Type: 'text' };
    const text = Object.keys(body).sort().map((key) => key + body[key]).join('') + 'bench-secret';
    const reply = await http.request({
      path: vendor.pathname, method: 'POST', body: JSON.stringify(body),
      headers: {
        'content-type': 'application/json', 'x-access-key-id': 'bench', 'x-nonce': randomBytes(10).toString('hex'),
        'x-signature': createHash('sha1').update(text).digest('hex'), 'x-timestamp': String(Math.floor(Date.now() / 1000)),
      },
    });
    const answer = await reply.body.json();
    const status = answer.RetCode === 0 ? 'accepted' : 'failed';
    if (ahead) {
      await database.query('UPDATE results SET status = $2, message_id = $3 WHERE n = $1', [job.data.n, status, answer.Data.MessageId]);
    } else {
      await database.query('INSERT INTO results (n, recipient, status, message_id) VALUES ($1, $2, $3, $4)',
        [job.data.n, job.data.to, status, answer.Data.MessageId]);
    }
  }, { connection, concurrency: count, drainDelay: 1 });
  process.on('SIGTERM', async () => { await worker.close(true); process.exit(0); });
}
