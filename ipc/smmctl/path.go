package smmctl

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/smmd-project/smmd/ipc/client"
)

// pathHelp says how paths are written.
const pathHelp = `A PATH is written as CWMP or as USP has it: with the number of a row or [ALIAS] for it; or with the wildcard *, a search
expression [Name=="osgi"], or a reference that is followed, ExecutionEnvRef+. Quote what the shell would take for its own.`

// isUSP reports whether only USP can read a path: it has a wildcard, a search expression or a followed reference. All other paths are
// the same in both protocols, but for an alias, which is CWMP's.
func isUSP(path string) bool {
	for rest := path; rest != ""; {
		var segment string
		segment, rest = cutSegment(rest)
		if strings.HasPrefix(segment, "[") && strings.ContainsAny(segment, "=<>!~\"") || segment == "*" || strings.HasSuffix(segment, "+") {
			return true
		}
	}
	return false
}

// hasAlias reports whether only CWMP can read a path.
func hasAlias(path string) bool {
	for rest := path; rest != ""; {
		var segment string
		segment, rest = cutSegment(rest)
		if strings.HasPrefix(segment, "[") && !isUSP(segment) {
			return true
		}
	}
	return false
}

// cutSegment takes a path apart at its first dot that is outside of brackets and of quotes in them.
func cutSegment(path string) (segment, rest string) {
	i := outside(path, '.')
	if i < 0 {
		return path, ""
	}
	return path[:i], path[i+1:]
}

// cutAssignment takes PATH=VALUE apart. An equals sign in a search expression belongs to the path.
func cutAssignment(arg string) (path, value string, ok bool) {
	i := outside(arg, '=')
	if i < 0 {
		return arg, "", false
	}
	return arg[:i], arg[i+1:], true
}

// outside returns the first place of a character that is not in brackets, or -1. Quotes count in brackets only.
func outside(s string, c byte) int {
	bracket, quote := false, false
	for i := range len(s) {
		switch {
		case quote:
			quote = s[i] != '"'
		case bracket:
			bracket, quote = s[i] != ']', s[i] == '"'
		case s[i] == c:
			return i
		case s[i] == '[':
			bracket = true
		}
	}
	return -1
}

// getParameters reads parameters by paths of both kinds. What CWMP does not know and USP does is answered too: each has parameters of its own.
func getParameters(ctx context.Context, c *client.Client, paths []string) ([]client.Parameter, error) {
	if !slices.ContainsFunc(paths, isUSP) {
		values, err := c.GetParameterValues(ctx, paths...)
		if !unknownPath(err) {
			return values, detailed(err)
		}
	}
	all := []client.Parameter{}
	for _, path := range paths {
		values, err := getPath(ctx, c, path)
		if err != nil {
			return nil, err
		}
		all = append(all, values...)
	}
	return all, nil
}

func getPath(ctx context.Context, c *client.Client, path string) ([]client.Parameter, error) {
	var cwmp error
	if !isUSP(path) {
		values, err := c.GetParameterValues(ctx, path)
		if !unknownPath(err) || hasAlias(path) {
			return values, detailed(err)
		}
		cwmp = detailed(err)
	}
	results, err := c.USPGet(ctx, 0, path)
	switch {
	case err != nil:
		return nil, detailed(err)
	case len(results) != 1:
		return nil, fmt.Errorf("cannot get %s: the agent gives %d answers", path, len(results))
	case results[0].Code != 0 && cwmp != nil: // neither knows it
		return nil, cwmp
	case results[0].Code != 0:
		return nil, fmt.Errorf("%s (USP %d)", results[0].Text, results[0].Code)
	}
	var values []client.Parameter
	for _, o := range results[0].Objects {
		for _, name := range slices.Sorted(maps.Keys(o.Parameters)) {
			values = append(values, client.Parameter{Path: o.Path + name, Value: o.Parameters[name]})
		}
	}
	return values, nil
}

// unknownPath reports whether CWMP says that there is no such path.
func unknownPath(err error) bool {
	var e *client.Error
	return errors.As(err, &e) && e.CWMP == 9005
}

// setUSP writes parameters by paths of USP, all or none.
func setUSP(ctx context.Context, c *client.Client, values []client.Parameter) error {
	var updates []client.USPUpdate
	at := map[string]int{}
	for _, v := range values {
		if hasAlias(v.Path) {
			return usagef("%s has an alias, as only CWMP has, and another path can only be read by USP: set them one after the other", v.Path)
		}
		name, rest := cutSegment(v.Path)
		for rest != "" {
			name, rest = cutSegment(rest)
		}
		object := strings.TrimSuffix(v.Path, name)
		i, known := at[object]
		if !known {
			i = len(updates)
			at[object] = i
			updates = append(updates, client.USPUpdate{Path: object})
		}
		updates[i].Settings = append(updates[i].Settings, client.USPSetting{Parameter: name, Value: v.Value, Required: true})
	}
	results, err := c.USPSet(ctx, false, updates...)
	if err != nil {
		return detailed(err)
	}
	for _, r := range results {
		if r.Code != 0 {
			return fmt.Errorf("%s (USP %d)", r.Text, r.Code)
		}
	}
	return nil
}
