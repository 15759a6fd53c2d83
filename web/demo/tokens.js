/** Texts to tokens, with the characters that each covers: the tokenizer itself gives ids only. */

// Ideographs of two UTF-16 units, around which the tokenizer's normalizer forgets to put spaces.
const IDEOGRAPH = /[\u{20000}-\u{2a6df}\u{2a700}-\u{2b81f}\u{2b920}-\u{2ceaf}\u{2f800}-\u{2fa1f}]/u;

/** Reads texts by a WordPiece tokenizer with BERT's normalizer, which is that of the demo. */
export class Reader {
  /**
   * @param tokenizer a Tokenizer of @huggingface/tokenizers.
   * @param {{markers: number[], max_length: number}} rules the manifest's `text`.
   */
  constructor(tokenizer, rules) {
    this.tokenizer = tokenizer;
    this.rules = rules;
    const names = [...tokenizer.get_added_tokens_decoder().values()].map((token) => token.content);
    const escaped = names.map((name) => name.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&"));
    this.special = new RegExp(`(${escaped.join("|")})`, "u");
    this.prefix = tokenizer.model.config.continuing_subword_prefix;
  }

  /**
   * Read a text.
   *
   * @returns {{characters: string[], tokens: object[]}} its code points; and its tokens, between
   *   [CLS] and [SEP]: id, first character and last + 1, the tokenizer's own word, and whether it is
   *   a special token.
   * @throws {Error} the text cannot be explained.
   */
  read(text) {
    const half = text.search(/\p{Surrogate}/u);
    if (half >= 0) {
      throw new Error(`Character ${Array.from(text.slice(0, half)).length} of the text is half a character. Leave it out.`);
    }
    const characters = Array.from(text);
    const tokens = [this.marker("[CLS]"), ...this.inner(text), this.marker("[SEP]")];
    if (tokens.every((token) => token.isMarker)) {
      throw new Error("The tokenizer makes no token of this text. Type words.");
    }
    if (tokens.length > this.rules.max_length) {
      throw new Error(
        `The text has ${tokens.length} tokens, over the limit of ${this.rules.max_length}. Shorten it.`,
      );
    }
    return { characters, tokens };
  }

  marker(name) {
    return { id: this.tokenizer.token_to_id(name), start: 0, end: 0, piece: -1, isMarker: true };
  }

  inner(text) {
    const tokens = [];
    let [at, piece] = [0, 0];
    // Every second part is a special token that the text spells.
    text.split(this.special).forEach((part, number) => {
      const { length } = Array.from(part);
      if (number % 2) {
        const id = this.tokenizer.token_to_id(part);
        const isMarker = this.rules.markers.includes(id);
        tokens.push({ id, start: at, end: at + length, piece: piece++, isMarker });
      } else {
        for (const pieceTokens of this.pieces(part, at)) {
          tokens.push(...pieceTokens.map((token) => ({ ...token, piece, isMarker: false })));
          piece++;
        }
      }
      at += length;
    });
    return tokens;
  }

  /** The tokens of each word of the tokenizer, of a part that begins at the character `first`. */
  *pieces(part, first) {
    const normalized = []; // code points
    const origins = []; // the character that each comes from
    Array.from(part).forEach((character, i) => {
      // One by one, as the original does it: a sigma at the end of a word is like any other.
      const own = this.tokenizer.normalizer(character);
      for (const point of IDEOGRAPH.test(character) ? ` ${own} ` : own) {
        normalized.push(point);
        origins.push(first + i);
      }
    });
    let at = 0;
    for (const piece of this.tokenizer.pre_tokenizer(normalized.join(""))) {
      const points = Array.from(piece);
      while (normalized[at] !== points[0]) at++;
      const tokens = this.tokenizer.model([piece]);
      const isUnknown = tokens[0] === this.tokenizer.model.unk_token;
      const end = at + points.length;
      yield tokens.map((token, number) => {
        const own = number ? token.slice(this.prefix.length) : token;
        const start = at;
        at = isUnknown ? end : at + Array.from(own).length;
        return { id: this.tokenizer.token_to_id(token), start: origins[start], end: origins[at - 1] + 1 };
      });
    }
  }
}
