// node-postgres through the gateway: PORT AUTHORITIES, the token in PGPASSWORD. Prints one line of JSON a step.

import { readFileSync } from 'node:fs';

import pg from 'pg';
import Cursor from 'pg-cursor';

const [port, authorities] = process.argv.slice(2);
const pool = new pg.Pool({
  host: '127.0.0.1', port: Number(port), database: 'orders', user: 'priya', max: 4,
  ssl: { ca: readFileSync(authorities), servername: 'localhost' },
});
const say = (step, value) => console.log(JSON.stringify({ step, value }));

const simple = await pool.query('SELECT id, name, card_number FROM customers ORDER BY id LIMIT 2');
say('simple', simple.rows);
const named = { name: 'by-id', text: 'SELECT card_number, count(*) OVER () AS n FROM customers WHERE id = $1' };
const client = await pool.connect();
for (let round = 0; round < 3; round++) {
  say('named', (await client.query({ ...named, values: [1 + round % 2] })).rows[0].card_number);
}
const cursor = client.query(new Cursor('SELECT card_number FROM customers ORDER BY id', []));
say('cursor', [(await cursor.read(1)).length, (await cursor.read(100)).every((row) => (row.card_number ?? '****').startsWith('****'))]);
await cursor.close();
try {
  await client.query('DROP TABLE orders');
} catch (error) {
  say('refused', [error.code, error.message, error.detail]);
}
await client.query('BEGIN');
await client.query("INSERT INTO orders (customer_id, total, note) VALUES ($1, $2, $3)", [1, 9, 'node']);
try {
  await client.query('TRUNCATE orders');
} catch (error) {
  say('in transaction', error.code);
}
try {
  await client.query('SELECT 1');
} catch (error) {
  say('then', error.code);
}
await client.query('ROLLBACK');
say('after', (await client.query("SELECT count(*)::int AS n FROM orders WHERE note = 'node'")).rows[0].n);
client.release();
const many = await Promise.all([...Array(20).keys()].map((n) => pool.query('SELECT $1::int AS n', [n])));
say('pool', many.map((result) => result.rows[0].n).reduce((sum, n) => sum + n));
await pool.end();
