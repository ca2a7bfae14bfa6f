package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"
)

// A stage lets the demonstration use what is written for tests: it is a test as far as packages machine and device are concerned.
type stage struct {
	testing.TB // what is not below is not asked for
	ctx        context.Context
	cleanups   []func()
	problems   []error
	temp       string
}

// failure is what a stage panics with, in place of the end of a test.
type failure struct{ error }

// perform calls show with a stage, and clears away what was put up on it, also after a failure.
func perform(ctx context.Context, show func(*stage) error) (err error) {
	s := &stage{ctx: ctx}
	defer func() {
		for _, f := range slices.Backward(s.cleanups) {
			err = errors.Join(err, s.guarded(f))
		}
		err = errors.Join(append([]error{err}, s.problems...)...)
	}()
	err2 := s.guarded(func() { err = show(s) })
	return errors.Join(err, err2)
}

// guarded calls f and returns the failure that it ended with.
func (s *stage) guarded(f func()) (err error) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case failure:
			err = r.error
		default:
			panic(r)
		}
	}()
	f()
	return nil
}

func (s *stage) Helper()                           {}
func (s *stage) Name() string                      { return "demonstration" }
func (s *stage) Context() context.Context          { return s.ctx }
func (s *stage) Cleanup(f func())                  { s.cleanups = append(s.cleanups, f) }
func (s *stage) Failed() bool                      { return len(s.problems) > 0 }
func (s *stage) Log(args ...any)                   { fmt.Fprintln(os.Stderr, args...) }
func (s *stage) Logf(format string, args ...any)   { fmt.Fprintf(os.Stderr, format+"\n", args...) }
func (s *stage) Error(args ...any)                 { s.problems = append(s.problems, errors.New(fmt.Sprint(args...))) }
func (s *stage) Errorf(format string, args ...any) { s.Error(fmt.Sprintf(format, args...)) }
func (s *stage) Fatal(args ...any)                 { panic(failure{errors.New(fmt.Sprint(args...))}) }
func (s *stage) Fatalf(format string, args ...any) { s.Fatal(fmt.Sprintf(format, args...)) }

func (s *stage) TempDir() string {
	if s.temp == "" {
		dir, err := os.MkdirTemp("", "smmd-demo-")
		if err != nil {
			s.Fatal(err)
		}
		s.temp = dir
		s.Cleanup(func() {
			if err := os.RemoveAll(dir); err != nil {
				s.Error(err)
			}
		})
	}
	return s.temp
}
