// Does the jobs on standard input with `agents` or `undici`; prints what it saw.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import http from "node:http";
import https from "node:https";
import { HttpProxyAgent } from "http-proxy-agent";
import { HttpsProxyAgent } from "https-proxy-agent";
import { SocksProxyAgent } from "socks-proxy-agent";
import { ProxyAgent, fetch } from "undici";

const TOLD_HEADERS = ["proxy-authenticate", "proxy-status", "retry-after", "x-sim-error"];

function answer(code, body, headerOf) {
  const headers = {};
  for (const name of TOLD_HEADERS) {
    const value = headerOf(name);
    if (value) headers[name] = String(value);
  }
  return { code, body: createHash("sha256").update(body).digest("hex"), headers };
}

// What went wrong lies at the bottom of undici's errors, a refused CONNECT's status in its words.
function failure(error) {
  while (error.cause) error = error.cause;
  const refused = /^Proxy response \((\d{3})\)/.exec(error.message);
  return { code: refused ? Number(refused[1]) : null, error: error.code ?? error.name };
}

function withAgents(job) {
  const agents = job.proxy.startsWith("socks")
    ? { socks: new SocksProxyAgent(job.proxy, { keepAlive: true }) }
    : {
        "http:": new HttpProxyAgent(job.proxy, { keepAlive: true }),
        "https:": new HttpsProxyAgent(job.proxy, { keepAlive: true }),
      };
  const page = (url) =>
    new Promise((resolve, reject) => {
      const { protocol } = new URL(url);
      const agent = agents.socks ?? agents[protocol];
      const asked = (protocol === "https:" ? https : http).get(url, { agent, timeout: 30_000 });
      asked.on("error", reject);
      asked.on("timeout", () => asked.destroy(new Error("timeout")));
      asked.on("response", async (got) => {
        try {
          const parts = [];
          for await (const part of got) parts.push(part);
          const body = Buffer.concat(parts);
          resolve(answer(got.statusCode, body, (name) => got.headers[name]));
        } catch (error) {
          reject(error);
        }
      });
    });
  const close = () => Object.values(agents).forEach((agent) => agent.destroy());
  return { page, close };
}

function withUndici(job) {
  const { username, password, origin } = new URL(job.proxy);
  const login = Buffer.from(`${username}:${password}`).toString("base64");
  const token = username && { token: `Basic ${login}` };
  // Unless told so, it opens a second tunnel while the first is about to be free.
  const dispatcher = new ProxyAgent({ uri: origin, ...token, connections: 1 });
  const page = async (url) => {
    const got = await fetch(url, { dispatcher, signal: AbortSignal.timeout(30_000) });
    const body = Buffer.from(await got.arrayBuffer());
    return answer(got.status, body, (name) => got.headers.get(name));
  };
  return { page, close: () => dispatcher.close() };
}

const open = { agents: withAgents, undici: withUndici }[process.argv[2]];
const found = [];
for (const job of JSON.parse(readFileSync(0))) {
  const { page, close } = open(job);
  const pages = [];
  for (const url of job.urls) pages.push(await page(url).catch(failure));
  found.push(pages);
  await close();
}
console.log(JSON.stringify(found));
