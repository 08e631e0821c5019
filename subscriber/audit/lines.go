package audit

import (
	"bufio"
	"errors"
	"io"
)

// maxLine is the longest line that is read, in bytes: the longest message with
// its summary takes less.
const maxLine = 2 << 20

// lineReader reads a file line by line in bounded memory.
type lineReader struct{ r *bufio.Reader }

func newLineReader(r io.Reader) *lineReader { return &lineReader{bufio.NewReaderSize(r, 64<<10)} }

// next gives a line with its line feed; the last may lack it. Of a line that is
// longer than maxLine it gives the beginning, without a line feed, and passes over
// the rest. At the end the error is io.EOF. The bytes are the caller's own.
func (l *lineReader) next() ([]byte, error) {
	var line []byte
	long := false
	for {
		part, err := l.r.ReadSlice('\n')
		if long = long || len(line)+len(part) > maxLine; !long {
			line = append(line, part...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
		case err == io.EOF && (len(line) > 0 || long):
			return line, nil
		default:
			return line, err
		}
	}
}
