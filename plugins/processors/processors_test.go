package processors

import "testing"

func TestCount(t *testing.T) {
	for text, want := range map[string]int{"0\n": 1, "0-1\n": 2, "0-3,6\n": 5, "0,2-3,8-11": 7, "": 0, "a": 0, "3-1": 0, "-1": 0, "0-": 0, "0-99999999999": 0} {
		n, ok := count(text)
		if ok != (want > 0) || ok && n != want {
			t.Errorf("%q: %d, %v; want %d", text, n, ok, want)
		}
	}
}
