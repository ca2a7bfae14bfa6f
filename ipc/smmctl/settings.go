package smmctl

import (
	"math"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/smmd-project/smmd/ipc/client"
)

// none is the word that takes a limit away.
const none = "none"

// limits are the flags that bound what is used.
type limits struct {
	disk, memory, cpu string
}

func (l *limits) flags(cmd *cobra.Command, whose, share string) {
	cmd.Flags().StringVar(&l.disk, "disk-limit", "", `disk that `+whose+` may use, for example 256MiB; "none" for no limit`)
	cmd.Flags().StringVar(&l.memory, "memory-limit", "", `memory that `+whose+` may use, for example 64MiB; "none" for no limit`)
	cmd.Flags().StringVar(&l.cpu, "cpu-limit", "", "percent of "+share+` that `+whose+` may use, 1 to 100; "none" for no limit`)
	for _, name := range []string{"disk-limit", "memory-limit", "cpu-limit"} {
		mustComplete(cmd, name, cobra.FixedCompletions([]string{none}, cobra.ShellCompDirectiveNoFileComp))
	}
}

// read returns the limits of the flags that are given.
func (l *limits) read(cmd *cobra.Command) (client.Limits, error) {
	var out client.Limits
	for _, f := range []struct {
		name, text string
		parse      func(string) (int32, bool)
		into       **int32
		want       string
	}{
		{"disk-limit", l.disk, parseLimit, &out.Disk, `a size of 1KiB or more, such as 64MiB`},
		{"memory-limit", l.memory, parseLimit, &out.Memory, `a size of 1KiB or more, such as 64MiB`},
		{"cpu-limit", l.cpu, parsePercent, &out.CPU, "a number from 1 to 100"},
	} {
		if !cmd.Flags().Changed(f.name) {
			continue
		}
		n, ok := int32(client.NoLimit), f.text == none
		if !ok {
			n, ok = f.parse(f.text)
		}
		if !ok {
			return client.Limits{}, usagef("cannot take %q for --%s: give %s, or %s", f.text, f.name, f.want, none)
		}
		*f.into = &n
	}
	return out, nil
}

// parseLimit reads a size that fits into a limit and returns it in KiB.
func parseLimit(s string) (int32, bool) {
	n, ok := parseSize(s, math.MaxInt32)
	return int32(n), ok
}

// parseSize reads a size with its unit and returns it in KiB: 1 to most, which is below 2^62.
func parseSize(s string, most int64) (int64, bool) {
	for _, u := range []struct {
		name  string
		shift uint
	}{{"KiB", 0}, {"MiB", 10}, {"GiB", 20}, {"TiB", 30}} {
		digits, ok := strings.CutSuffix(s, u.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(digits, 10, 62)
		if err != nil || n == 0 || n > uint64(most)>>u.shift {
			return 0, false
		}
		return int64(n << u.shift), true
	}
	return 0, false
}

func parsePercent(s string) (int32, bool) {
	n, err := strconv.ParseUint(strings.TrimSuffix(s, "%"), 10, 31)
	return int32(n), err == nil && 1 <= n && n <= 100
}

// said tells limits as a person would: "64MiB of memory, no limit of disk".
func said(l client.Limits) string {
	var parts []string
	for _, p := range []struct {
		n    *int32
		what string
		unit func(int64) string
	}{
		{l.Disk, "disk", kibibytes}, {l.Memory, "memory", kibibytes}, {l.CPU, "the processors", func(n int64) string { return strconv.FormatInt(n, 10) + "%" }},
	} {
		switch {
		case p.n == nil:
		case *p.n == client.NoLimit:
			parts = append(parts, "no limit of "+p.what)
		default:
			parts = append(parts, p.unit(int64(*p.n))+" of "+p.what)
		}
	}
	return strings.Join(parts, ", ")
}

// kibibytes writes a size in the greatest unit that it is a whole number of.
func kibibytes(n int64) string {
	for _, unit := range []string{"KiB", "MiB", "GiB"} {
		if n%1024 != 0 {
			return strconv.FormatInt(n, 10) + unit
		}
		n /= 1024
	}
	return strconv.FormatInt(n, 10) + "TiB"
}

// readVariables reads KEY=VALUE of each. Without any it returns nil.
func readVariables(list []string) (map[string]string, error) {
	if len(list) == 0 {
		return nil, nil
	}
	out := map[string]string{}
	for _, s := range list {
		key, value, ok := strings.Cut(s, "=")
		if !ok || key == "" {
			return nil, usagef("cannot take %q for --variable: give KEY=VALUE", s)
		}
		if _, twice := out[key]; twice {
			return nil, usagef("cannot take --variable %s twice", key)
		}
		out[key] = value
	}
	return out, nil
}
