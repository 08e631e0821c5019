package audit

// SetBatch sets how many messages are written together.
func (r *Reader) SetBatch(n int) { r.batch = n }

// SetWritten sets what is called between writing and acknowledging.
func (r *Reader) SetWritten(f func()) { r.written = f }
