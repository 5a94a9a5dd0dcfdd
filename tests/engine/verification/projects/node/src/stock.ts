import { parse } from "ini";

export type Stock = Record<string, number>;

export function readStock(text: string): Stock {
  const stock: Stock = {};
  for (const [name, count] of Object.entries(parse(text))) {
    if (!/^\d+$/.test(count)) throw new Error(`${name} has no count: ${count}`);
    stock[name] = Number(count);
  }
  return stock;
}

export function total(stock: Stock): number {
  return Object.values(stock).reduce((sum, count) => sum + count, 0);
}
