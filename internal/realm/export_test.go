package realm

// Loading tells whether keys are being loaded.
func (r *Realms) Loading() bool {
	for _, s := range r.sources {
		s.mu.Lock()
		flying := s.flying != nil
		s.mu.Unlock()
		if flying {
			return true
		}
	}
	return false
}

// Idle waits until no keys are being loaded.
func (r *Realms) Idle() {
	for _, s := range r.sources {
		s.wg.Wait()
	}
}
