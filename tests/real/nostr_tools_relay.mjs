// A nostr-tools client for the tests: argv is the relay's address; one JSON request a line, one JSON answer a line.
import './globals.mjs'
import { createInterface } from 'node:readline'
import { finalizeEvent } from 'nostr-tools/pure'
import { Relay } from 'nostr-tools/relay'
import { SimplePool } from 'nostr-tools/pool'

const bytes = hex => Uint8Array.from(Buffer.from(hex, 'hex'))
const url = process.argv[2]
const relay = await Relay.connect(url)

const operations = {
  auth: async ({ secret }) => relay.auth(async template => finalizeEvent(template, bytes(secret))),
  publish: async ({ event }) => relay.publish(event),
  fetch: ({ filter }) =>
    new Promise((resolve, reject) => {
      const events = []
      const subscription = relay.subscribe([filter], {
        onevent: event => events.push(event.id),
        oneose: () => { resolve(events); subscription.close() },
        onclose: reason => reject(new Error(reason)),
      })
    }),
  pool: async ({ filter, secret }) => {
    const pool = new SimplePool()
    const signer = async template => finalizeEvent(template, bytes(secret))
    const events = await pool.querySync([url], filter, { onauth: signer, maxWait: 3000 })
    pool.close([url])
    return events.map(event => event.id)
  },
  count: async ({ filter }) => relay.count([filter], {}),
}

for await (const line of createInterface({ input: process.stdin })) {
  let answer
  try {
    const request = JSON.parse(line)
    answer = { result: (await operations[request.operation](request)) ?? null }
  } catch (error) {
    answer = { error: String(error) }
  }
  process.stdout.write(JSON.stringify(answer) + '\n')
}
relay.close()
