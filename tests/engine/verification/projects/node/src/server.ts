import { createServer } from "node:http";
import { readStock, total } from "./stock.js";

const stock = readStock("apples = 3\npears = 4\n");

createServer((_, response) => {
  response.setHeader("Content-Type", "application/json");
  response.end(JSON.stringify({ ...stock, total: total(stock) }));
}).listen(Number(process.env.PORT ?? 3000), "127.0.0.1");
