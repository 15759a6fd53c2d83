// Tables as text, by RFC 4180: fields in quotation marks may hold commas, line breaks, and "" for ".

/** Return the bytes of a file as text: UTF-8, or else what Windows writes. */
export function decoded(bytes) {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    return new TextDecoder("windows-1252").decode(bytes);
  }
}

function separator(text) {
  const line = text.slice(0, text.search(/[\r\n]|$/));
  const counts = [",", ";", "\t"].map((sign) => [line.split(sign).length, sign]);
  return counts.reduce((most, next) => (next[0] > most[0] ? next : most))[1];
}

/** Return the rows of a table, each a list of fields; lines with nothing in them are left out. */
export function parsed(text) {
  const comma = separator(text);
  const rows = [];
  let row = [];
  let field = "";
  let quoted = false;
  const endField = () => {
    row.push(field.replace(/\r\n?/g, "\n"));
    field = "";
  };
  const endRow = () => {
    endField();
    if (row.some((value) => value !== "")) rows.push(row);
    row = [];
  };
  for (let n = 0; n < text.length; n += 1) {
    const sign = text[n];
    if (quoted) {
      if (sign !== '"') field += sign;
      else if (text[n + 1] === '"') (field += '"'), (n += 1);
      else quoted = false;
    } else if (sign === '"' && field === "") quoted = true;
    else if (sign === comma) endField();
    else if (sign === "\n" || sign === "\r") {
      if (sign === "\r" && text[n + 1] === "\n") n += 1;
      endRow();
    } else field += sign;
  }
  if (quoted) throw new Error("A quotation mark in this file is never closed. Save it anew as CSV.");
  endRow();
  return rows;
}
