package ps1

import (
	"strings"
	"testing"
	"unicode/utf16"
)

// Write-Host shows what an expression is.
func TestValues(t *testing.T) {
	const setup = "$a = 'x'; ${b} = 7002; $List = 'p', 'q'; $t = @{ Key = 'v'; 'other key' = 2 }\n"
	for script, want := range map[string]string{
		`Write-Host word`:                          "word",
		`Write-Host 10.1.1.0/24`:                   "10.1.1.0/24",
		`Write-Host 001122334455`:                  "001122334455", // as written: it may be a MAC
		`$m = 001122334455; Write-Host $m`:         "1122334455",   // as PowerShell counts
		`Write-Host 0x1B5A`:                        "0x1B5A",
		`$m = 0x1B5A; Write-Host $m`:               "7002",
		`Write-Host a#b # comment`:                 "a#b",
		`Write-Host a <# b #> c`:                   "a c",
		`Write-Host 'it''s $a'`:                    "it's $a",
		`Write-Host "it's $A, ""$b"", $$ 5$"`:      `it's x, "7002", $$ 5$`,
		"Write-Host \"`$a `\"q`\" tab`t, line`n\"": "$a \"q\" tab\t, line\n",
		`Write-Host "$($a).$( $b )${a}y"`:          "x.7002xy",
		`Write-Host "$a.Length"`:                   "x.Length",
		`Write-Host “typographic ‘$a’”`:            "typographic ‘x’",
		`Write-Host ‘single’ –ForegroundColor Red`: "single",
		`Write-Host a,b, c`:                        "a b c",
		`Write-Host $list z`:                       "p q z",
		`Write-Host @('a', "b"; 'c')`:              "a b c",
		"Write-Host @(\n'a',\n'b'\n'c'\n)":         "a b c",
		`Write-Host @("")`:                         "",
		`Write-Host ('a')`:                         "a",
		`Write-Host $true $False`:                  "True False",
		`Write-Host $t.key`:                        "v",
		`Write-Host $t.Key $b -NoNewline`:          "v 7002",
		`$list | write-output`:                     "p q",
		`ECHO 'a'`:                                 "a",
		`"alone"`:                                  "alone",
		`$b`:                                       "7002",
		`(Get-NetAdapter Ethernet).Name`:           "Ethernet",
		`(Get-NetAdapter).Name`:                    "uplink0",
		`(Get-NetAdapter -InterfaceDescription 'Some 10G').ifAlias`:             "Some 10G",
		`(Get-NetAdapter | where {$_.Name -eq "Ethernet 2"}).Name`:              "Ethernet 2",
		`(Get-VMNetworkAdapter blue1).MacAddress`:                               "101010101105",
		`(Get-VMNetworkAdapter -Name blue1).VirtualSubnetId`:                    "0",
		`(Get-NetVirtualizationGlobal).UseExternalRouter`:                       "False",
		"Write-Host one `\n  two `\n  three":                                    "one two three",
		"$x =\n  'next line'\nWrite-Host $x":                                    "next line",
		"Write-Host a; ; Write-Host b\n;":                                       "a\nb",
		"Write-Host a |\n\n # nothing\n Out-Host":                               "a",
		"Write-Verbose a; Clear-Host; 'b' | Out-Null; 'c' | Out-Host":           "c",
		"Write-Host \"two\r\nlines\"\r\n# end":                                  "two\nlines",
		"Write-Host a\r# b\rWrite-Host c":                                       "a\nc",
		"\ufeffWrite-Host bom":                                                  "bom",
		"$ErrorActionPreference = 'Stop'; import-module netwnv, Hyper-V -Force": "",
	} {
		p, err := Translate("x.ps1", []byte(strings.TrimPrefix(setup+script, setup+"\ufeff")), envOf(bare()))
		if err != nil {
			t.Errorf("%s: %v", script, err)
			continue
		}
		var got []string
		for _, o := range p.Output {
			got = append(got, o.Text)
		}
		if g := strings.Join(got, "\n"); g != want {
			t.Errorf("%s\nshows %q, want %q", script, g, want)
		}
		if len(p.Changes) > 0 {
			t.Errorf("%s changes %v", script, p.Changes)
		}
	}
}

// UTF-16 is what Windows' redirection writes.
func TestUTF16(t *testing.T) {
	for _, order := range []string{"little", "big"} {
		var b []byte
		for _, u := range utf16.Encode([]rune("\ufeffWrite-Host “ü”\r\nWrite-Host 𝄞")) {
			if order == "little" {
				b = append(b, byte(u), byte(u>>8))
			} else {
				b = append(b, byte(u>>8), byte(u))
			}
		}
		p, err := Translate("x.ps1", b, Env{})
		if err != nil || len(p.Output) != 2 || p.Output[0].Text != "ü" || p.Output[1].Text != "𝄞" {
			t.Errorf("%s endian: %v, %v", order, p, err)
		}
	}
}

// Names are taken whatever their case, and by any beginning that is one
// parameter's alone.
func TestNames(t *testing.T) {
	p, err := Translate("x.ps1", []byte(onLink+"\nnew-netvirtualizationLOOKUPRECORD -customera 10.9.1.9 -virt 9001 -mac 020000000909 -ProviderA 192.168.1.9 -r 1 -customeri c1 -cont 'c 2' -vm v -ty dynamic -aSJOB -Throttle 3 -EA stop -vb"), envOf(bare()))
	if err != nil {
		t.Fatal(err)
	}
	const want = "pacactl lookup-record add --vsid 9001 --ca 10.9.1.9 --mac 02:00:00:00:09:09 --pa 192.168.1.9 --type dynamic --vm-name v --customer-id c1 --context 'c 2'"
	if c := p.Commands(); c[len(c)-1] != want {
		t.Errorf("read as %s\nwant %s", c[len(c)-1], want)
	}
}
