import assert from "node:assert/strict";
import { test } from "node:test";
import { readStock, total } from "../src/stock.js";

test("counts are added up", () => {
  assert.equal(total(readStock("apples = 3\npears = 4\n")), 7);
});

test("a negative count is refused", () => {
  assert.throws(() => readStock("apples = -1\n"), /apples has no count: -1/);
});
