package events

import (
	"encoding/binary"
	"errors"
	"math"
	"math/bits"
	"sync"
	"unicode/utf16"
	"unicode/utf8"
)

// document is one JSON text, scanned once: its values stand in nodes in the order
// of the text, so that what is within a value can be looked at, or passed over,
// without reading the text again.
//
// Documents are used again, with their memory. Nothing of one may be kept beyond
// its release.
type document struct {
	text  []byte
	nodes []node
	// unescaped has the characters of the strings that are not their own text.
	unescaped []byte
	// decoded has a text that travels in base64url: where decodeText puts it, and
	// from where it is signed.
	decoded []byte
}

// node is one value, or the name before one.
type node struct {
	form form
	// elsewhere tells that start and end are places in unescaped.
	elsewhere bool
	// start and end are the value's place in the text; a string's without quotes.
	start, end int32
	// next is the node behind this one and all that is within it.
	next int32
}

// form is the first byte of a value's text, or number.
type form byte

// The forms of a JSON value. A value that is not there has none of them.
const (
	isObject form = '{'
	isArray  form = '['
	isString form = '"'
	isTrue   form = 't'
	isFalse  form = 'f'
	isNull   form = 'n'
	isNumber form = '0'
)

// maxDepth is how deep values are nested in one another at most.
const maxDepth = 64

var (
	errNotObject = errors.New("not a JSON object")
	errTail      = errors.New("data behind the JSON object")
	errTwice     = errors.New("a member name appears twice")
	errUTF8      = errors.New("not valid UTF-8")
	errSurrogate = errors.New("half of a surrogate pair")
)

// documents begin with room for a token or a rule.
var documents = sync.Pool{New: func() any {
	return &document{nodes: make([]node, 0, 64), decoded: make([]byte, 0, 1024)}
}}

func newDocument() *document { return documents.Get().(*document) }

// What a released document keeps at most: enough for a full list.
const (
	maxKeptBytes = 64 << 10
	maxKeptNodes = 4 << 10
)

func (d *document) release() {
	if cap(d.nodes) > maxKeptNodes || cap(d.unescaped) > maxKeptBytes || cap(d.decoded) > maxKeptBytes {
		return
	}
	d.text = nil
	documents.Put(d)
}

// scan reads exactly one JSON object (RFC 8259), refusing text that is not
// Unicode and anything behind the object. encoding/json reads invalid UTF-8 and
// escaped halves of surrogate pairs as U+FFFD, by which strings that differ, such
// as the jti of two tokens, would become one.
func (d *document) scan(text []byte) (object, error) {
	if len(text) > math.MaxInt32 {
		return object{}, errNotObject
	}
	d.text, d.nodes, d.unescaped = text, d.nodes[:0], d.unescaped[:0]
	at, err := d.value(d.skipBlanks(0), 0)
	if err != nil {
		return object{}, err
	}
	if d.skipBlanks(at) != len(text) {
		return object{}, errTail
	}
	return value{d, 0}.object()
}

// byteAt gives 0, which JSON has nowhere, beyond the end.
func (d *document) byteAt(at int) byte {
	if at < len(d.text) {
		return d.text[at]
	}
	return 0
}

func (d *document) skipBlanks(at int) int {
	for at < len(d.text) {
		switch d.text[at] {
		case ' ', '\t', '\r', '\n':
			at++
		default:
			return at
		}
	}
	return at
}

// value scans the value at a place and gives the place behind it, as the methods
// below do for a value of one form.
func (d *document) value(at, depth int) (int, error) {
	switch d.byteAt(at) {
	case '{', '[':
		return d.container(at, depth+1)
	case '"':
		return d.characters(at)
	case 't':
		return d.word(at, "true")
	case 'f':
		return d.word(at, "false")
	case 'n':
		return d.word(at, "null")
	default:
		return d.number(at)
	}
}

func (d *document) add(f form, start, end int) {
	next := int32(len(d.nodes) + 1)
	d.nodes = append(d.nodes, node{form: f, start: int32(start), end: int32(end), next: next})
}

func (d *document) container(at, depth int) (int, error) {
	if depth > maxDepth {
		return 0, errNotObject
	}
	opening := d.text[at]
	closing := opening + 2 // of both { and [
	self := len(d.nodes)
	d.add(form(opening), at, 0)
	at = d.skipBlanks(at + 1)
	for first := true; ; first = false {
		var err error
		switch c := d.byteAt(at); {
		case c == closing:
			d.nodes[self].end, d.nodes[self].next = int32(at+1), int32(len(d.nodes))
			return at + 1, nil
		case first:
		case c == ',':
			at = d.skipBlanks(at + 1)
		default:
			return 0, errNotObject
		}
		if opening == '{' {
			if at, err = d.name(at); err != nil {
				return 0, err
			}
		}
		if at, err = d.value(at, depth); err != nil {
			return 0, err
		}
		at = d.skipBlanks(at)
	}
}

func (d *document) name(at int) (int, error) {
	if d.byteAt(at) != '"' {
		return 0, errNotObject
	}
	at, err := d.characters(at)
	if err != nil {
		return 0, err
	}
	if at = d.skipBlanks(at); d.byteAt(at) != ':' {
		return 0, errNotObject
	}
	return d.skipBlanks(at + 1), nil
}

func (d *document) word(at int, word string) (int, error) {
	end := at + len(word)
	if end > len(d.text) || string(d.text[at:end]) != word {
		return 0, errNotObject
	}
	d.add(form(word[0]), at, end)
	return end, nil
}

func (d *document) number(at int) (int, error) {
	start := at
	if d.byteAt(at) == '-' {
		at++
	}
	whole := d.skipDigits(at)
	if whole == at || d.text[at] == '0' && whole > at+1 {
		return 0, errNotObject
	}
	if at = whole; d.byteAt(at) == '.' {
		if at = d.skipDigits(whole + 1); at == whole+1 {
			return 0, errNotObject
		}
	}
	if c := d.byteAt(at); c == 'e' || c == 'E' {
		if at++; d.byteAt(at) == '+' || d.byteAt(at) == '-' {
			at++
		}
		exponent := at
		if at = d.skipDigits(at); at == exponent {
			return 0, errNotObject
		}
	}
	d.add(isNumber, start, at)
	return at, nil
}

func (d *document) skipDigits(at int) int {
	for at < len(d.text) && '0' <= d.text[at] && d.text[at] <= '9' {
		at++
	}
	return at
}

// characters scans a string.
func (d *document) characters(at int) (int, error) {
	end := d.skipPlain(at + 1)
	if d.byteAt(end) != '"' {
		return d.oddCharacters(at + 1)
	}
	d.add(isString, at+1, end)
	return end + 1, nil
}

// skipPlain gives the place of the next byte that is not printable ASCII, or is a
// quote or backslash. It looks at eight bytes at a time: most of what travels is
// in strings.
func (d *document) skipPlain(at int) int {
	const each, high = 0x0101010101010101, 0x8080808080808080
	for ; at+8 <= len(d.text); at += 8 {
		w := binary.LittleEndian.Uint64(d.text[at:])
		quote, backslash := w^'"'*each, w^'\\'*each
		// Subtracting borrows from the high bit of a byte that is too small. What
		// it also borrows from the bytes above does not matter: the lowest counts.
		odd := (w | (w-' '*each)&^w | (quote-each)&^quote | (backslash-each)&^backslash) & high
		if odd != 0 {
			return at + bits.TrailingZeros64(odd)/8
		}
	}
	for at < len(d.text) {
		if c := d.text[at]; c < ' ' || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			return at
		}
		at++
	}
	return at
}

// oddCharacters scans the rest of a string that is not plain ASCII, and writes
// what it means to unescaped.
func (d *document) oddCharacters(at int) (int, error) {
	start := len(d.unescaped)
	for {
		plain := d.skipPlain(at)
		d.unescaped = append(d.unescaped, d.text[at:plain]...)
		at = plain
		switch c := d.byteAt(at); {
		case c == '"':
			d.add(isString, start, len(d.unescaped))
			d.nodes[len(d.nodes)-1].elsewhere = true
			return at + 1, nil
		case c == '\\':
			size, err := d.escape(d.text[at+1:])
			if err != nil {
				return 0, err
			}
			at += 1 + size
		case c >= utf8.RuneSelf:
			r, size := utf8.DecodeRune(d.text[at:])
			if r == utf8.RuneError && size == 1 {
				return 0, errUTF8
			}
			d.unescaped = append(d.unescaped, d.text[at:at+size]...)
			at += size
		default:
			return 0, errNotObject
		}
	}
}

// escapes gives what each letter behind a backslash stands for; 0 for none.
var escapes = [256]byte{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

// escape writes the character of the escape whose text behind the backslash b
// begins with, and gives the length of that text.
func (d *document) escape(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, errNotObject
	}
	if c := escapes[b[0]]; c != 0 {
		d.unescaped = append(d.unescaped, c)
		return 1, nil
	}
	r, size := codeUnit(b), 5
	if r < 0 {
		return 0, errNotObject
	}
	if utf16.IsSurrogate(r) {
		if len(b) < 11 || b[5] != '\\' {
			return 0, errSurrogate
		}
		if r = utf16.DecodeRune(r, codeUnit(b[6:])); r == utf8.RuneError {
			return 0, errSurrogate
		}
		size = 11
	}
	d.unescaped = utf8.AppendRune(d.unescaped, r)
	return size, nil
}

// codeUnit gives the UTF-16 code unit of the uXXXX that b begins with, -1 if it
// does not.
func codeUnit(b []byte) rune {
	if len(b) < 5 || b[0] != 'u' {
		return -1
	}
	var unit rune
	for _, c := range b[1:5] {
		switch {
		case '0' <= c && c <= '9':
			unit = unit<<4 | rune(c-'0')
		case 'a' <= c|0x20 && c|0x20 <= 'f':
			unit = unit<<4 | rune(c|0x20-'a'+10)
		default:
			return -1
		}
	}
	return unit
}

// decodeText gives the bytes that part encodes in base64url. They stand in the
// document until decodeText is called again.
func decodeText[T ~string | ~[]byte](d *document, part T) ([]byte, error) {
	b, err := appendDecoded(d.decoded[:0], part)
	if err == nil {
		d.decoded = b
	}
	return b, err
}
