package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	pacav1 "paca/ctrl/api/paca/v1"
	"paca/ctrl/api/paca/v1/pacav1connect"
	"paca/ctrl/client"
)

// noun is a kind of policy's objects. Its verbs follow from the table of its
// fields: a flag sets the field of that name in the API's message.
type noun struct {
	name     string            // "lookup-record"
	one      string            // "lookup record"
	short    string            // what it is for
	object   protoreflect.Name // in pacav1.Object
	list     listing
	fields   []field
	columns  []column
	row      func(proto.Message) []string
	more     func(proto.Message) string // what verb show has beyond a line for each field; nil: nothing
	examples map[string]string          // by verb
}

// field is one field of a noun's message.
type field struct {
	name     protoreflect.Name
	flag     string // "": as name, with dashes
	part     part
	help     string
	clears   bool     // a list that "" leaves empty
	without  string   // the value that add takes if none is given, when that is not empty or 0
	words    []string // the choices, if there are few
	complete completion

	// selector turns what identifies an object into what the list looks for.
	selector func(string) string
	// edit, in place of the field itself, is what verb set does with the value.
	edit func(o proto.Message, value string) error
}

// part is what a field is to its object.
type part int

const (
	identity part = iota // fixed, and needed by add
	needed               // needed by add, changed by set
	final                // given by add or never
	free                 // given by add or not, changed by set
	edited               // changed by set, through edit
	picked               // told by the daemon only; lists select by it
)

func (f *field) flagName() string {
	if f.flag != "" {
		return f.flag
	}
	return strings.ReplaceAll(string(f.name), "_", "-")
}

// listing is how a noun's objects are asked for: the request's fields are the
// selectors.
type listing struct {
	selectors protoreflect.MessageType
	ask       func(context.Context, *client.Client, proto.Message) (proto.Message, error)
}

type message[T any] interface {
	*T
	proto.Message
}

func listed[Q, A any, PQ message[Q], PA message[A]](
	call func(pacav1connect.ControlClient, context.Context, *connect.Request[Q]) (*connect.ServerStreamForClient[A], error),
) listing {
	return listing{
		PQ(new(Q)).ProtoReflect().Type(),
		func(ctx context.Context, daemon *client.Client, q proto.Message) (proto.Message, error) {
			all, err := client.All[A, PA](call(daemon.ControlClient, ctx, connect.NewRequest((*Q)(q.(PQ)))))
			return PA(all), err
		},
	}
}

// rowOf makes a table row of a noun's own message.
func rowOf[T any, P message[T]](row func(P) []string) func(proto.Message) []string {
	return func(m proto.Message) []string { return row(m.(P)) }
}

// elements are the objects of a list's answer.
func elements(answer proto.Message) (all []proto.Message) {
	answer.ProtoReflect().Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if f.IsList() && f.Message() != nil {
			for i := range v.List().Len() {
				all = append(all, v.List().Get(i).Message().Interface())
			}
		}
		return true
	})
	return all
}

// wrap makes an Object of a noun's message.
func (n *noun) wrap(m protoreflect.Message) *pacav1.Object {
	o := &pacav1.Object{}
	o.ProtoReflect().Set(n.oneof(), protoreflect.ValueOfMessage(m))
	return o
}

func (n *noun) oneof() protoreflect.FieldDescriptor {
	return (&pacav1.Object{}).ProtoReflect().Descriptor().Fields().ByName(n.object)
}

func (n *noun) new() protoreflect.Message {
	return (&pacav1.Object{}).ProtoReflect().NewField(n.oneof()).Message()
}

// bare is what policy has of a message: without what the daemon tells only.
func (n *noun) bare(m proto.Message) protoreflect.Message {
	from, to := m.ProtoReflect(), n.new()
	for _, f := range n.fields {
		if d := descriptor(from, f.name); f.part != picked && from.Has(d) {
			to.Set(d, from.Get(d))
		}
	}
	return proto.Clone(to.Interface()).ProtoReflect()
}

// alone is the field that identifies an object by itself, if there is one: it
// may be given without its flag.
func (n *noun) alone() *field {
	var only *field
	for i := range n.fields {
		if n.fields[i].part != identity {
			continue
		}
		if only != nil {
			return nil
		}
		only = &n.fields[i]
	}
	return only
}

func descriptor(m protoreflect.Message, name protoreflect.Name) protoreflect.FieldDescriptor {
	return m.Descriptor().Fields().ByName(name)
}

// value is a flag that sets a field of a message.
type value struct {
	in    protoreflect.Message
	field *field
	as    func(string) string // nil: as given
}

// Set implements pflag.Value. Of a repeated field it takes commas, too.
func (v *value) Set(s string) error {
	d := descriptor(v.in, v.field.name)
	if d.IsMap() {
		return v.setMap(d, s)
	}
	if !d.IsList() {
		parsed, err := v.parse(d, s)
		if err == nil {
			v.in.Set(d, parsed)
		}
		return err
	}
	if v.field.clears && s == "" {
		v.in.Clear(d)
		return nil
	}
	for s := range strings.SplitSeq(s, ",") {
		parsed, err := v.parse(d, s)
		if err != nil {
			return err
		}
		v.in.Mutable(d).List().Append(parsed)
	}
	return nil
}

// setMap takes "word=on,word=off" into a map of booleans.
func (v *value) setMap(d protoreflect.FieldDescriptor, s string) error {
	for pair := range strings.SplitSeq(s, ",") {
		word, state, _ := strings.Cut(pair, "=")
		if !slices.Contains(v.field.words, word) {
			return fmt.Errorf("%q: use %s, each with =on or =off", word, oneOf(v.field.words))
		}
		if state != "on" && state != "off" {
			return fmt.Errorf("%q: write %s=on or %s=off", pair, word, word)
		}
		v.in.Mutable(d).Map().Set(protoreflect.ValueOfString(word).MapKey(), protoreflect.ValueOfBool(state == "on"))
	}
	return nil
}

func (v *value) parse(d protoreflect.FieldDescriptor, s string) (protoreflect.Value, error) {
	if v.as != nil {
		s = v.as(s)
	}
	if words := v.field.words; words != nil && !slices.Contains(words, s) {
		return protoreflect.Value{}, fmt.Errorf("use %s", oneOf(words))
	}
	switch d.Kind() {
	case protoreflect.Uint32Kind:
		n, err := parseUint32(s)
		return protoreflect.ValueOfUint32(n), err
	case protoreflect.BoolKind:
		b, err := parseBool(s)
		return protoreflect.ValueOfBool(b), err
	}
	return protoreflect.ValueOfString(s), nil
}

// String and Type implement pflag.Value.
func (v *value) String() string { return "" }

func (v *value) Type() string {
	if v.in == nil {
		return ""
	}
	d := descriptor(v.in, v.field.name)
	kind := "TEXT"
	switch {
	case d.IsMap():
		kind = "WORD=on|off,..."
	case d.Kind() == protoreflect.Uint32Kind:
		kind = "N"
	case d.Kind() == protoreflect.BoolKind:
		kind = "BOOL"
	case v.field.words != nil:
		kind = "WORD"
	}
	if d.IsList() {
		kind += ",..."
	}
	return kind
}

// flag adds a flag that sets f in a message.
func (c *ctl) flag(command *cobra.Command, in protoreflect.Message, f *field, help string, as func(string) string) {
	name := f.flagName()
	added := command.Flags().VarPF(&value{in, f, as}, name, "", help)
	if d := descriptor(in, f.name); d.Kind() == protoreflect.BoolKind {
		added.NoOptDefVal = "true"
	}
	c.completes(command, name, f)
}

// verbs are all that can be done with a noun.
func (c *ctl) verbs(n *noun) *cobra.Command {
	group := noVerb(n.name, n.short, c.add(n), c.set(n), c.del(n), c.listOf(n), c.showOf(n))
	for _, v := range group.Commands() {
		v.Example = example(n.examples[v.Name()])
	}
	return group
}

func (c *ctl) add(n *noun) *cobra.Command {
	object := n.new()
	var how change
	command := c.asks("add", "Add a "+n.one, func(ctx context.Context, daemon *client.Client, args []string) error {
		return c.send(ctx, daemon, how, blind, func() (*changeSet, error) {
			return &changeSet{changes: []*pacav1.Change{{Change: &pacav1.Change_Add{Add: n.wrap(object)}}}}, nil
		})
	})
	how.flags(command)
	var must []string
	for i := range n.fields {
		f := &n.fields[i]
		if f.part == picked || f.part == edited {
			continue
		}
		c.flag(command, object, f, f.help, nil)
		if f.without != "" {
			flag := command.Flags().Lookup(f.flagName())
			flag.DefValue = f.without
			_ = (&value{object, f, nil}).Set(f.without) // a test sees that it is one
		}
		if f.part == identity || f.part == needed {
			must = append(must, f.flagName())
		}
	}
	alone := n.alone()
	if alone != nil {
		c.takes(command, alone, cobra.MaximumNArgs(1))
	}
	command.PreRunE = func(command *cobra.Command, args []string) error {
		if err := given(alone, object, args, nil); err != nil {
			return err
		}
		var missing []string
		for _, name := range must {
			if !command.Flags().Changed(name) && (len(args) == 0 || name != alone.flagName()) {
				missing = append(missing, "--"+name)
			}
		}
		if missing != nil {
			return fmt.Errorf("%s add needs %s", n.name, strings.Join(missing, ", "))
		}
		return nil
	}
	return command
}

// given puts arguments into the field that they stand for.
func given(f *field, in protoreflect.Message, args []string, as func(string) string) error {
	for _, a := range args {
		if err := (&value{in, f, as}).Set(a); err != nil {
			return fmt.Errorf("%s %q: %w", f.name, a, err)
		}
	}
	return nil
}

// takes lets the identity of objects stand without its flag.
func (c *ctl) takes(command *cobra.Command, alone *field, how cobra.PositionalArgs) {
	command.Use += " [" + strings.ToUpper(alone.flagName()) + "]"
	if how == nil {
		command.Use += "..."
		how = cobra.ArbitraryArgs
	}
	command.Args = how
	if alone.complete != nil {
		command.ValidArgsFunction = func(command *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
			return alone.complete(c, command.Context()), cobra.ShellCompDirectiveNoFileComp
		}
	}
}

// selection is which objects a verb means.
type selection struct {
	noun  *noun
	query protoreflect.Message
	all   bool
	flags []string // that select
}

// selects gives a command the flags that select, of the parts that may.
func (c *ctl) selects(command *cobra.Command, n *noun, parts ...part) *selection {
	s := &selection{noun: n, query: n.list.selectors.New()}
	command.Long = command.Short + ": those with any of the values given for a field that selects, and\nso for each such field that is given."
	for i := range n.fields {
		f := &n.fields[i]
		if !slices.Contains(parts, f.part) || descriptor(s.query, f.name) == nil {
			continue
		}
		c.flag(command, s.query, f, "only where "+f.flagName()+" is one of these", f.selector)
		s.flags = append(s.flags, f.flagName())
	}
	if alone := n.alone(); alone != nil {
		c.takes(command, alone, nil)
		command.PreRunE = func(_ *cobra.Command, args []string) error {
			return given(alone, s.query, args, alone.selector)
		}
	}
	return s
}

// deliberate makes a verb refuse to touch everything unless told so.
func (s *selection) deliberate(command *cobra.Command) {
	command.Flags().BoolVar(&s.all, "all", false, "every "+s.noun.one+" that is not of the host file")
	before := command.PreRunE
	command.PreRunE = func(command *cobra.Command, args []string) error {
		if before != nil {
			if err := before(command, args); err != nil {
				return err
			}
		}
		selected := len(args) > 0 || slices.ContainsFunc(s.flags, command.Flags().Changed)
		ways := "--" + strings.Join(append(slices.Clone(s.flags), "all"), ", --")
		switch {
		case !selected && !s.all:
			return fmt.Errorf("%s %s needs to know which: %s", s.noun.name, command.Name(), ways)
		case selected && s.all:
			return fmt.Errorf("%s %s: --all and another selector contradict each other", s.noun.name, command.Name())
		}
		return nil
	}
}

// find asks for what is selected. Of everything, the host file's is left out: it
// cannot be changed.
func (s *selection) find(ctx context.Context, daemon *client.Client) ([]proto.Message, error) {
	answer, err := s.noun.list.ask(ctx, daemon, s.query.Interface())
	if err != nil {
		return nil, err
	}
	found := elements(answer)
	if s.all {
		return slices.DeleteFunc(found, func(m proto.Message) bool {
			d := descriptor(m.ProtoReflect(), "host_file")
			return d != nil && m.ProtoReflect().Get(d).Bool()
		}), nil
	}
	if len(found) == 0 {
		return nil, notFound(s.noun)
	}
	return found, nil
}

func (c *ctl) set(n *noun) *cobra.Command {
	var how change
	var s *selection
	news := n.new()
	command := c.asks("set", "Change "+n.one+"s", nil)
	s = c.selects(command, n, identity)
	s.deliberate(command)
	var can []*field
	for i := range n.fields {
		f := &n.fields[i]
		switch f.part {
		case needed, free:
			c.flag(command, news, f, f.help, nil)
		case edited:
			command.Flags().String(f.flagName(), "", f.help)
			command.Flags().Lookup(f.flagName()).DefValue = ""
		default:
			continue
		}
		can = append(can, f)
	}
	how.flags(command)
	edit := func(m protoreflect.Message, f *field) error {
		if f.edit != nil {
			return f.edit(m.Interface(), command.Flags().Lookup(f.flagName()).Value.String())
		}
		d := descriptor(m, f.name)
		switch {
		case d.IsMap():
			news.Get(d).Map().Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
				m.Mutable(d).Map().Set(k, v)
				return true
			})
		case d.IsList() && !news.Has(d):
			m.Clear(d)
		default:
			m.Set(d, news.Get(d))
		}
		return nil
	}
	selected := command.PreRunE
	command.PreRunE = func(command *cobra.Command, args []string) error {
		var wanted []*field
		var names []string
		for _, f := range can {
			names = append(names, "--"+f.flagName())
			if command.Flags().Changed(f.flagName()) {
				wanted = append(wanted, f)
			}
		}
		if wanted == nil {
			return fmt.Errorf("%s set needs something to set: %s", n.name, strings.Join(names, ", "))
		}
		can = wanted
		return selected(command, args)
	}
	command.RunE = c.asking(patience, func(ctx context.Context, daemon *client.Client, _ []string) error {
		return c.send(ctx, daemon, how, sighted, func() (*changeSet, error) {
			found, err := s.find(ctx, daemon)
			set := &changeSet{}
			for _, m := range found {
				o := n.bare(m)
				for _, f := range can {
					if err := edit(o, f); err != nil {
						return nil, usage{err}
					}
				}
				set.changes = append(set.changes, &pacav1.Change{Change: &pacav1.Change_Replace{Replace: n.wrap(o)}})
			}
			return set, err
		})
	})
	return command
}

func (c *ctl) del(n *noun) *cobra.Command {
	var how change
	var s *selection
	command := c.asks("del", "Delete "+n.one+"s", func(ctx context.Context, daemon *client.Client, _ []string) error {
		return c.send(ctx, daemon, how, sighted, func() (*changeSet, error) {
			found, err := s.find(ctx, daemon)
			set := &changeSet{}
			for _, m := range found {
				set.changes = append(set.changes, &pacav1.Change{Change: &pacav1.Change_Delete{Delete: n.wrap(n.bare(m))}})
			}
			return set, err
		})
	})
	s = c.selects(command, n, identity, needed, final, free, picked)
	s.deliberate(command)
	how.flags(command)
	return command
}

func (c *ctl) listOf(n *noun) *cobra.Command {
	var s *selection
	command := c.asks("list", "List "+n.one+"s", func(ctx context.Context, daemon *client.Client, _ []string) error {
		answer, err := n.list.ask(ctx, daemon, s.query.Interface())
		if err != nil {
			return err
		}
		return c.show(answer, func() string {
			var rows [][]string
			for _, m := range elements(answer) {
				rows = append(rows, n.row(m))
			}
			return layOut(n.columns, rows)
		})
	})
	s = c.selects(command, n, identity, needed, final, free, picked)
	return command
}

func (c *ctl) showOf(n *noun) *cobra.Command {
	var s *selection
	command := c.asks("show", "Show all about "+n.one+"s", func(ctx context.Context, daemon *client.Client, _ []string) error {
		answer, err := n.list.ask(ctx, daemon, s.query.Interface())
		if err != nil {
			return err
		}
		found := elements(answer)
		if len(found) == 0 {
			return notFound(n)
		}
		return c.show(answer, func() string {
			var sheets []string
			for _, m := range found {
				text := sheet(m.ProtoReflect())
				if n.more != nil {
					text += n.more(m)
				}
				sheets = append(sheets, text)
			}
			return strings.Join(sheets, "\n")
		})
	})
	s = c.selects(command, n, identity, needed, final, free, picked)
	s.deliberate(command)
	command.Flags().Lookup("all").Usage = "every " + n.one
	return command
}

// sheet is everything about one message, a line each, but for lists of messages.
func sheet(m protoreflect.Message) string {
	var rows [][]string
	var walk func(prefix string, m protoreflect.Message)
	walk = func(prefix string, m protoreflect.Message) {
		fields := m.Descriptor().Fields()
		for i := range fields.Len() {
			f := fields.Get(i)
			name := prefix + strings.ReplaceAll(string(f.Name()), "_", " ")
			if f.IsList() && f.Message() != nil {
				continue
			}
			if f.Message() != nil && !f.IsMap() {
				walk(name+" ", m.Get(f).Message())
				continue
			}
			value := "-"
			if m.Has(f) || !f.HasPresence() {
				value = printed(f, m.Get(f))
			}
			rows = append(rows, []string{name, value})
		}
	}
	walk("", m)
	return layOut([]column{{"", fixed}, {"", text}}, rows)
}

// printed is a field's value in words.
func printed(f protoreflect.FieldDescriptor, v protoreflect.Value) string {
	switch {
	case f.IsMap() && v.Map().Len() == 0:
		return "-"
	case f.IsMap():
		var all []string
		v.Map().Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
			all = append(all, k.String()+"="+map[bool]string{true: "on", false: "off"}[v.Bool()])
			return true
		})
		slices.Sort(all)
		return strings.Join(all, ", ")
	case f.IsList() && v.List().Len() == 0:
		return "-"
	case f.IsList():
		var all []string
		for i := range v.List().Len() {
			all = append(all, v.List().Get(i).String())
		}
		return strings.Join(all, ", ")
	case f.Kind() == protoreflect.BoolKind && v.Bool():
		return "yes"
	case f.Kind() == protoreflect.BoolKind:
		return "no"
	case f.Kind() == protoreflect.StringKind && v.String() == "":
		return "-"
	}
	return v.String()
}
