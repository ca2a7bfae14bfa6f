package softwaremodules

import (
	"reflect"
	"slices"
)

// IsConstant reports whether p always reads the same: the agent has nothing for it.
func IsConstant(p *parameter) bool {
	reader := func(f any) uintptr { return reflect.ValueOf(f).Pointer() }
	constant := []uintptr{reader(empty), reader(zero), reader(unknown), reader(never)}
	return slices.ContainsFunc([]any{p.Text, p.Int, p.Bool, p.Time}, func(f any) bool { return slices.Contains(constant, reader(f)) })
}

// Whole is the data model of all protocols and versions.
var Whole = root
