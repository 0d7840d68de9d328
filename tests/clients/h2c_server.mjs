// Answers HTTP/2 in clear at an address and a port: GET /p/5000 gives 5,000 bytes.
import http2 from "node:http2";

const [address, port] = process.argv.slice(2);
const server = http2.createServer((request, response) => {
  response.end(Buffer.alloc(Number(request.url.slice("/p/".length)), "x"));
});
server.listen(Number(port), address);
