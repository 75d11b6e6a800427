package ps1

import (
	"errors"
	"strings"
	"testing"

	"paca/dataplane/policy"
)

// Each script is wrong on its third line, and nothing of it is done.
func TestFaults(t *testing.T) {
	blue, _ := after(t, bare(), host1)
	for _, c := range []struct{ script, want string }{
		// What is not understood.
		{`FROB`, `FROB is not understood`},
		{`Restart-Computer`, `Restart-Computer is not understood`},
		{`New-VM -Name x`, `New-VM is not understood`},
		{`if ($true) { New-VM }`, `if is not understood: say each change by a line of its own`},
		{`foreach ($r in 1,2) { }`, `foreach is not understood: say each change by a line of its own`},
		{`Get-NetVirtualizationLookupRecord | foreach { Remove-Item $_ }`, `foreach is not understood: say each change by a line of its own`},
		{`Get-NetVirtualizationLookupRecord | ForEach-Object { $_ }`, `ForEach-Object is refused: say each change by a line of its own`},
		{`Get-NetVirtualizationLookupRecord | % { $_ }`, `% is refused: say each change by a line of its own`},
		{`Invoke-Command -ComputerName host2 -ScriptBlock { }`, `Invoke-Command is refused: a script changes the host on which it is run; run it on the other`},
		{`Disable-NetAdapterBinding Ethernet -ComponentID ms_netwnv`, `Disable-NetAdapterBinding is refused: on Windows it clears all policy; remove what is meant by Remove-NetVirtualization… with a selector`},
		{`Enable-NetAdapterBinding Ethernet -ComponentID ms_tcpip6`, `Enable-NetAdapterBinding: -ComponentID: "ms_tcpip6" is not understood; the binding of network virtualization is ms_netwnv`},
		{`Enable-NetAdapterBinding Ethernet`, `Enable-NetAdapterBinding: needs -ComponentID`},
		{`Import-Module ActiveDirectory`, `Import-Module: module "ActiveDirectory" is not understood; NetWNV, NetAdapter, NetTCPIP and Hyper-V are`},
		{`[int]$x = 5`, `'[int]$x' is not understood: types and methods have no use here`},
		{`$x = [guid]::NewGuid()`, `'[guid]::NewGuid()' is not understood: types and methods have no use here`},
		{`$x = 1 + 2`, `'+' is not understood here`},
		{`$x += 1`, `'+=' is not understood: assign with =`},
		{`$x = $y`, `$y has no value`},
		{`$x = $y.Name`, `$y has no value`},
		{`$x = 5; $x.Name`, `.Name: this value has no properties here`},
		{`$x = 1.5`, `"1.5" is not a whole number; put it in quotes if it is text`},
		{`$x = 0xZZ`, `"0xZZ" is not a whole number; put it in quotes if it is text`},
		{`$x = 5kb`, `"5kb" is not a whole number; put it in quotes if it is text`},
		{`$x = "a".Length`, `'.Length' is not understood behind a value`},
		{`$x = (1,2)[0]`, `'[0]' is not understood behind a value`},
		{`$x = "$env:COMPUTERNAME"`, `$env:COMPUTERNAME is not understood: variables of drives and scopes have no use here`},
		{`$x = $global:y`, `$global:y is not understood: variables of drives and scopes have no use here`},
		{"$x = @\"\nhere\n\"@", `'@"' is not understood: here-strings and the like have no use here`},
		{`$WhatIfPreference = $true`, `$whatifpreference cannot be set: use --dry-run`},
		{`$true = $false`, `$true cannot be set: it is a constant`},
		{`$x = "open`, `the string is not closed`},
		{`$x = 'open`, `the string is not closed`},
		{`<# open`, `the comment <# is not closed`},
		{"New-NetVirtualizationLookupRecord ` ", `a backtick continues a line only as its last character`},
		{"Write-Host `\"", `a backtick continues a line only as its last character`},
		{`$x = (Get-NetAdapter`, `')' is missing`},
		{`$x = @{ a = 1`, `'}' is missing`},
		{`$x = @{ 1 + 2 }`, `'+' is not understood: a table is @{Name = value; …}`},
		{`$x = @(1,2`, `')' is missing`},
		{`)`, `')' closes nothing`},
		{`}`, `'}' closes nothing`},
		{`$x = {11111111-2222-3333-4444-000000000000}`, `a script block is not understood here; a GUID in braces stands in quotes`},
		{`Write-Host a > file`, `> is not understood: a script is not a place to redirect or to start programs`},
		{`Write-Host a && Write-Host b`, `& is not understood: a script is not a place to redirect or to start programs`},
		{`Write-Host a || Write-Host b`, `|| is not understood`},
		{`Write-Host a$x`, `'$x' is not understood within an argument: put the whole in quotes`},
		{`1 | Out-Null | | Out-Null`, `'|' is not understood where a command's name should be`},
		{`1 | 2`, `2 is not understood`},
		{`& notepad`, `'&' is not understood where a value should be`},
		{`.\other.ps1`, `'.\other.ps1' is not understood where a value should be`},
		{`Get-NetAdapter Ethernet -CimSession host2`, `Get-NetAdapter: -CimSession: a script changes the host on which it is run; run it on the other`},
		// Parameters.
		{`New-NetVirtualizationLookupRecord`, `New-NetVirtualizationLookupRecord: needs -CustomerAddress, -VirtualSubnetID, -MACAddress, -ProviderAddress, -Rule`},
		{`New-NetVirtualizationLookupRecord -CustomerAddress 10.9.1.9 -VirtualSubnetID 9001`, `New-NetVirtualizationLookupRecord: needs -MACAddress, -ProviderAddress, -Rule`},
		{`New-NetVirtualizationLookupRecord 10.9.1.9`, `New-NetVirtualizationLookupRecord: "10.9.1.9" has no parameter's name in front`},
		{`New-NetVirtualizationLookupRecord -Colour blue`, `New-NetVirtualizationLookupRecord: no parameter -Colour is known`},
		{`New-NetVirtualizationLookupRecord -CustomerAddress`, `New-NetVirtualizationLookupRecord: -CustomerAddress needs a value`},
		{`New-NetVirtualizationLookupRecord -CustomerAddress -VirtualSubnetID 9001`, `New-NetVirtualizationLookupRecord: -CustomerAddress needs a value`},
		{`New-NetVirtualizationLookupRecord -C 10.9.1.9`, `New-NetVirtualizationLookupRecord: -C may be -CustomerAddress, -CustomerID, -Context, -CimSession, -Confirm`},
		{`New-NetVirtualizationLookupRecord -CustomerA 10.9.1.9 -CustomerAddress 10.9.1.9`, `New-NetVirtualizationLookupRecord: -CustomerAddress: given twice`},
		{`New-NetVirtualizationLookupRecord -CustomerAddress 10.9.1.9, 10.9.1.10`, `New-NetVirtualizationLookupRecord: -CustomerAddress: takes one value, not 2`},
		{`New-NetVirtualizationLookupRecord -CustomerAddress $null`, `New-NetVirtualizationLookupRecord: -CustomerAddress: the value is $null`},
		{`Get-NetVirtualizationLookupRecord -CustomerAddress @()`, `Get-NetVirtualizationLookupRecord: -CustomerAddress: the array is empty`},
		{`New-NetVirtualizationLookupRecord -CimSession host2`, `New-NetVirtualizationLookupRecord: -CimSession: a script changes the host on which it is run; run it on the other`},
		{`New-NetVirtualizationLookupRecord -Session host2`, `New-NetVirtualizationLookupRecord: -CimSession: a script changes the host on which it is run; run it on the other`},
		{`New-NetVirtualizationLookupRecord -Confirm`, `New-NetVirtualizationLookupRecord: needs -CustomerAddress, -VirtualSubnetID, -MACAddress, -ProviderAddress, -Rule`},
		{`New-NetVirtualizationLookupRecord -OutVariable x`, `New-NetVirtualizationLookupRecord: -OutVariable: write $name = … in front of the line`},
		{`New-NetVirtualizationLookupRecord -EA Inquire`, `New-NetVirtualizationLookupRecord: -ErrorAction: "inquire" is not Stop, Continue, SilentlyContinue or Ignore`},
		{`New-NetVirtualizationLookupRecord -Unusable $true`, `New-NetVirtualizationLookupRecord: no parameter -Unusable is known`},
		{`$a = 1,2; New-NetVirtualizationLookupRecord @a`, `New-NetVirtualizationLookupRecord: only a table @{Name = value} can be given with @`},
		{`Get-NetVirtualizationLookupRecord -Unusable $true`, `Get-NetVirtualizationLookupRecord: -Unusable: it is a state of the host, not policy; pacactl shows it`},
		{`Get-NetVirtualizationProviderAddress -AddressState Preferred`, `Get-NetVirtualizationProviderAddress: -AddressState: it is a state of the host, not policy; pacactl shows it`},
		{`Set-NetVirtualizationLookupRecord -CustomerAddress 10.9.1.9 -Type Dynamic`, `Set-NetVirtualizationLookupRecord: no parameter -Type is known`},
		{`"x" | New-NetVirtualizationLookupRecord`, `New-NetVirtualizationLookupRecord: takes nothing from a pipe`},
		// Values (C1.2).
		{record("-CustomerAddress 10.9.1"), `New-NetVirtualizationLookupRecord: -CustomerAddress: "10.9.1" is not an IP address`},
		{record("-CustomerAddress \"$(Get-NetAdapter x)\""), `within a string: a network adapter is not text; write $(….Name)`},
		{record("-MACAddress 02000000090"), `New-NetVirtualizationLookupRecord: -MACAddress: "02000000090" is not a MAC like 101010101105`},
		{record("-ProviderAddress host2"), `New-NetVirtualizationLookupRecord: -ProviderAddress: "host2" is not an IP address`},
		{record("-VirtualSubnetID 4095"), `New-NetVirtualizationLookupRecord: -VirtualSubnetID: 4095 is reserved; use 4096 to 16777214 (W4)`},
		{record("-VirtualSubnetID 16777215"), `New-NetVirtualizationLookupRecord: -VirtualSubnetID: 16777215 is reserved; use 4096 to 16777214 (W4)`},
		{record("-VirtualSubnetID -1"), `New-NetVirtualizationLookupRecord: -VirtualSubnetID: "-1" is not a whole number from 0 to 4294967295`},
		{record("-VirtualSubnetID 4294967296"), `New-NetVirtualizationLookupRecord: -VirtualSubnetID: "4294967296" is not a whole number from 0 to 4294967295`},
		{record("-VirtualSubnetID blue"), `New-NetVirtualizationLookupRecord: -VirtualSubnetID: "blue" is not a whole number from 0 to 4294967295`},
		{record("-Rule TranslationMethodNone"), `New-NetVirtualizationLookupRecord: -Rule: nothing says what TranslationMethodNone does, so it is refused; use TranslationMethodEncap or TranslationMethodNat (P23)`},
		{record("-Rule 2"), `New-NetVirtualizationLookupRecord: -Rule: nothing says what TranslationMethodNone does, so it is refused; use TranslationMethodEncap or TranslationMethodNat (P23)`},
		{record("-Rule Encap"), `New-NetVirtualizationLookupRecord: -Rule: "Encap" is not TranslationMethodEncap or TranslationMethodNat`},
		{record("-UseVmMACAddress $true"), `New-NetVirtualizationLookupRecord: -UseVmMACAddress: true goes with -Rule TranslationMethodNat only (P24)`},
		{record("-UseVmMACAddress \"yes\""), `New-NetVirtualizationLookupRecord: -UseVmMACAddress: write $true or $false`},
		{record("-Type GatewayWildcard"), `New-NetVirtualizationLookupRecord: -CustomerAddress: 10.9.1.9 does not go with -Type GatewayWildcard; GatewayWildcard and L2Only have 0.0.0.0 or ::, others do not (C1.1)`},
		{record("-Type Router"), `New-NetVirtualizationLookupRecord: -Type: "Router" is not Static, Dynamic, GatewayWildcard, L2Only`},
		{record("-Type Static", "-CustomerAddress 0.0.0.0"), `New-NetVirtualizationLookupRecord: -CustomerAddress: 0.0.0.0 does not go with -Type Static; GatewayWildcard and L2Only have 0.0.0.0 or ::, others do not (C1.1)`},
		{record(), `VSID 9001 needs an on-link route, New-NetVirtualizationCustomerRoute -NextHop 0.0.0.0 with its prefix (P11)`},
		{`New-NetVirtualizationCustomerRoute -RoutingDomainID 99999999 -VirtualSubnetID 9001 -DestinationPrefix 10.9.1.0/24 -NextHop 0.0.0.0`, `New-NetVirtualizationCustomerRoute: -RoutingDomainID: "99999999" is not a GUID like {11111111-2222-3333-4444-000000000000}`},
		{`New-NetVirtualizationCustomerRoute -RoutingDomainID "{00000000-0000-0000-0000-000000000000}" -VirtualSubnetID 9001 -DestinationPrefix 10.9.1.0/24 -NextHop 0.0.0.0`, `New-NetVirtualizationCustomerRoute: -RoutingDomainID: a routing domain is not the zero GUID (P3)`},
		{`New-NetVirtualizationCustomerRoute -RoutingDomainID {99999999-0000-0000-0000-000000000000}`, `a script block is not understood here; a GUID in braces stands in quotes`},
		{`New-NetVirtualizationCustomerRoute -RoutingDomainID "{99999999-0000-0000-0000-000000000000}" -VirtualSubnetID 9001 -DestinationPrefix 10.9.1.1/24 -NextHop 0.0.0.0`, `New-NetVirtualizationCustomerRoute: -DestinationPrefix: 10.9.1.1/24 has bits set behind its length; write 10.9.1.0/24`},
		{`New-NetVirtualizationCustomerRoute -RoutingDomainID "{99999999-0000-0000-0000-000000000000}" -VirtualSubnetID 9001 -DestinationPrefix 10.9.1.0/24 -NextHop ::`, `New-NetVirtualizationCustomerRoute: -NextHop: :: is not a next hop for 10.9.1.0/24`},
		{`New-NetVirtualizationCustomerRoute -RoutingDomainID "{99999999-0000-0000-0000-000000000000}" -VirtualSubnetID 0 -DestinationPrefix 10.9.1.0/24 -NextHop 0.0.0.0`, `New-NetVirtualizationCustomerRoute: -VirtualSubnetID: 0 is reserved; use 4096 to 16777214 (W4)`},
		{`New-NetVirtualizationProviderAddress -InterfaceIndex 12 -ProviderAddress 192.168.1.9 -PrefixLength 33`, `New-NetVirtualizationProviderAddress: -PrefixLength: 192.168.1.9 cannot have 33`},
		{`New-NetVirtualizationProviderAddress -InterfaceIndex 12 -ProviderAddress 192.168.1.9 -PrefixLength 256`, `New-NetVirtualizationProviderAddress: -PrefixLength: "256" is not a whole number from 0 to 255`},
		{`New-NetVirtualizationProviderAddress -InterfaceIndex Ethernet -ProviderAddress 192.168.1.9 -PrefixLength 24`, `New-NetVirtualizationProviderAddress: -InterfaceIndex: "Ethernet" is not an interface's number; take it from a network adapter, $NIC.InterfaceIndex`},
		{`Set-NetVirtualizationGlobal -UseExternalRouter 2`, `Set-NetVirtualizationGlobal: -UseExternalRouter: write $true or $false`},
		{`Select-NetVirtualizationNextHop 10.9.1.9 10.9.1.10`, `Select-NetVirtualizationNextHop: needs -SourceVirtualSubnetID`},
		{`Select-NetVirtualizationNextHop 10.9.1.9 10.9.1.10 1`, `Select-NetVirtualizationNextHop: -SourceVirtualSubnetID: 1 is reserved; use 4096 to 16777214 (W4)`},
		// Not all on the host by accident.
		{`Remove-NetVirtualizationLookupRecord`, `Remove-NetVirtualizationLookupRecord: this means every LookupRecord on the host, and is refused; choose by -CustomerAddress, -VirtualSubnetID, -MACAddress, -ProviderAddress, -Rule, -CustomerID, -Context, -VMName, -UseVmMACAddress, -Type`},
		{`Remove-NetVirtualizationLookupRecord -Confirm:$false`, `Remove-NetVirtualizationLookupRecord: this means every LookupRecord on the host, and is refused; choose by -CustomerAddress, -VirtualSubnetID, -MACAddress, -ProviderAddress, -Rule, -CustomerID, -Context, -VMName, -UseVmMACAddress, -Type`},
		{`Get-NetVirtualizationLookupRecord | Remove-NetVirtualizationLookupRecord`, `Remove-NetVirtualizationLookupRecord: this means every LookupRecord on the host, and is refused; choose by -CustomerAddress, -VirtualSubnetID, -MACAddress, -ProviderAddress, -Rule, -CustomerID, -Context, -VMName, -UseVmMACAddress, -Type`},
		{`$all = Get-NetVirtualizationLookupRecord; $all | Remove-NetVirtualizationLookupRecord`, `Remove-NetVirtualizationLookupRecord: this means every LookupRecord on the host, and is refused; choose by -CustomerAddress, -VirtualSubnetID, -MACAddress, -ProviderAddress, -Rule, -CustomerID, -Context, -VMName, -UseVmMACAddress, -Type`},
		{`Remove-NetVirtualizationProviderAddress`, `Remove-NetVirtualizationProviderAddress: this means every ProviderAddress on the host, and is refused; choose by -ProviderAddress, -InterfaceIndex, -PrefixLength, -VlanID, -MACAddress`},
		{`Set-NetVirtualizationLookupRecord -ProviderAddress 192.168.1.9`, `Set-NetVirtualizationLookupRecord: this means every LookupRecord on the host, and is refused; choose by -CustomerAddress, -VirtualSubnetID, -MACAddress`},
		{`Get-NetVirtualizationCustomerRoute | Set-NetVirtualizationCustomerRoute -Metric 1`, `Set-NetVirtualizationCustomerRoute: this means every CustomerRoute on the host, and is refused; choose by -RoutingDomainID, -VirtualSubnetID, -DestinationPrefix, -NextHop`},
		{`Set-NetVirtualizationCustomerRoute -VirtualSubnetID 6001`, `Set-NetVirtualizationCustomerRoute: says nothing to change`},
		{`Remove-NetVirtualizationCustomerRoute -VirtualSubnetID 9999`, `Remove-NetVirtualizationCustomerRoute: there is no such CustomerRoute`},
		{`Get-NetVirtualizationCustomerRoute -VirtualSubnetID 6001 | Remove-NetVirtualizationLookupRecord`, `Remove-NetVirtualizationLookupRecord: takes objects of Get-NetVirtualizationLookupRecord only`},
		{`Get-NetVirtualizationLookupRecord -VirtualSubnetID 6001 | Remove-NetVirtualizationLookupRecord -CustomerAddress 10.1.1.11`, `Remove-NetVirtualizationLookupRecord: takes the objects it is given; a filter beside them is not understood`},
		{`$r = Get-NetVirtualizationLookupRecord -VirtualSubnetID 6001; $r | Remove-NetVirtualizationLookupRecord; $r | Remove-NetVirtualizationLookupRecord`, `Remove-NetVirtualizationLookupRecord: line 3 removed this LookupRecord`},
		{`$r = Get-NetVirtualizationLookupRecord -VirtualSubnetID 6001; $r.ProviderAddress`, `.ProviderAddress: these are 2 objects, and only one has a property`},
		{`$r = Get-NetVirtualizationLookupRecord -VirtualSubnetID 6001; "$r"`, `within a string: objects are not text; write $(….Property)`},
		{`(Get-NetVirtualizationLookupRecord -CustomerAddress 10.1.1.11).Colour`, `.Colour: a LookupRecord has no such property here`},
		{`(Get-NetVirtualizationLookupRecord -CustomerAddress 10.1.1.11).Unusable`, `.Unusable: a LookupRecord has no such property here`},
		// where
		{`where {$_.MacAddress -eq 1}`, `where needs objects from a pipe`},
		{`Get-NetVirtualizationLookupRecord | where {$_.MACAddress -like "10*"}`, `-like is not understood: compare with -eq or -ne`},
		{`Get-NetVirtualizationLookupRecord | where {$_.MACAddress -eq "10*"}`, `where: MACAddress: "10*" is not a MAC like 101010101105`},
		{`Get-NetVirtualizationLookupRecord | where {$_.MACAddress -eq 101010101105 -or $_.VMName -eq "x"}`, `behind a condition comes -and or }, and nothing else is understood`},
		{`Get-NetVirtualizationLookupRecord | where {$_.Colour -eq "blue"}`, `where: Colour: a LookupRecord has no such property here`},
		{`Get-NetVirtualizationLookupRecord | where {$r.VMName -eq "blue"}`, `'$r.VMName' is not understood: a condition begins with $_ and a property, like $_.MacAddress`},
		{`Get-NetVirtualizationLookupRecord | where VMName`, `the end of the file is not understood behind VMName: compare with -eq or -ne`},
		{`Get-NetVirtualizationLookupRecord | where "VMName"`, `'"VMName"' is not understood: a condition is {$_.MacAddress -eq "…"}`},
		{`Get-VMNetworkAdapter | where {$_.Status -eq "Ok"}`, `where: Status: network adapters are chosen by MacAddress, VMName or Name`},
		{`Get-VMNetworkAdapter | where {$_.MacAddress -ne "101010101105"}`, `where: MacAddress: network adapters are chosen by -eq only`},
		{`Get-NetAdapter | where {$_.Status -eq "Up"}`, `where: Status: network adapters are chosen by {$_.Name -eq …} only`},
		{`"x" | where {$_.Length -eq 1}`, `where: only policy objects and network adapters are filtered here`},
		// Ports (C7).
		{`Get-VMNetworkAdapter x | where {$_.MacAddress -eq "020000000999"} | Set-VMNetworkAdapter -VirtualSubnetID 9001`, `Set-VMNetworkAdapter: no VM's port of this host has MAC 02:00:00:00:09:99`},
		{`Get-VMNetworkAdapter -VMName nobody | Set-VMNetworkAdapter -VirtualSubnetID 9001`, `Set-VMNetworkAdapter: no VM's port is called nobody; choose by MAC, | where {$_.MacAddress -eq "…"}`},
		{`Get-VMNetworkAdapter * | Set-VMNetworkAdapter -VirtualSubnetID 9001`, `Set-VMNetworkAdapter: this means every VM's port; choose one by MAC, | where {$_.MacAddress -eq "…"}`},
		{`Set-VMNetworkAdapter -VirtualSubnetID 9001`, `Set-VMNetworkAdapter: this means every VM's port; choose one by MAC, | where {$_.MacAddress -eq "…"}`},
		{`Get-VMNetworkAdapter | where {$_.MacAddress -eq "101010101307"} | Set-VMNetworkAdapter -VirtualSubnetID 9001`, `Set-VMNetworkAdapter: this may be port twin1 or twin2; choose one with -VMName`},
		{`Set-VMNetworkAdapter blue1 -VirtualSubnetID 4095`, `Set-VMNetworkAdapter: -VirtualSubnetId: 4095 is reserved; use 4096 to 16777214 (W4)`},
		{`Set-VMNetworkAdapter blue1 -VirtualSubnetID 16777215`, `Set-VMNetworkAdapter: -VirtualSubnetId: 16777215 is reserved; use 4096 to 16777214 (W4)`},
		{`Set-VMNetworkAdapter blue1`, `Set-VMNetworkAdapter: says nothing to change`},
		{`Set-VMNetworkAdapter blue1 -AllowTeaming On`, `Set-VMNetworkAdapter: no parameter -AllowTeaming is known`},
		{`Set-VMNetworkAdapter blue1 -MacAddressSpoofing $true`, `Set-VMNetworkAdapter: -MacAddressSpoofing: "True" is not On or Off`},
		{`Set-VMNetworkAdapter blue1 -DhcpGuard`, `Set-VMNetworkAdapter: -DhcpGuard needs a value`},
		{`Set-VMNetworkAdapter blue1 -RouterGuard 1`, `Set-VMNetworkAdapter: -RouterGuard: "1" is not On or Off`},
		{`Set-VMNetworkAdapter blue1 -DynamicIPAddressLimit -1`, `Set-VMNetworkAdapter: -DynamicIPAddressLimit: "-1" is not a whole number from 0 to 4294967295`},
		{`Set-VMNetworkAdapter blue1 -VirtualSubnetID 9001 -ComputerName host2`, `Set-VMNetworkAdapter: -ComputerName: a script changes the host on which it is run; run it on the other`},
		{`Set-VMNetworkAdapter -ManagementOS -VirtualSubnetID 9001`, `Set-VMNetworkAdapter: -ManagementOS: a port is a VM's here`},
		{`Get-VMNetworkAdapter blue1 | where {$_.MacAddress -eq "101010101105"} | Set-VMNetworkAdapter -StaticMacAddress 101010101106 -VirtualSubnetID 9001`, `Set-VMNetworkAdapter: -StaticMacAddress: this adapter has 10:10:10:10:11:05, which is not changed here`},
		{`Get-VMNetworkAdapter blue1 | where {$_.MacAddress -eq "000000000000"} | Set-VMNetworkAdapter -VirtualSubnetID 9001`, `where: MacAddress: no VM has 00:00:00:00:00:00`},
		{`Get-NetAdapter Ethernet | Set-VMNetworkAdapter -VirtualSubnetID 9001`, `Set-VMNetworkAdapter: choose a network adapter by a pipe from Get-VMNetworkAdapter, or by -VMName, or by -VMNetworkAdapter`},
		{`Set-VMNetworkAdapterVlan blue1 -Access -VlanId 7`, `Set-VMNetworkAdapterVlan is refused: a port has a VLAN or a VSID, and this is not policy (P2)`},
		// What is there, and what it comes to.
		{`New-NetVirtualizationLookupRecord -VirtualSubnetID 6001 -CustomerAddress 10.1.1.11 -MACAddress 101010101105 -ProviderAddress 192.168.7.7 -Rule TranslationMethodEncap`, `New-NetVirtualizationLookupRecord: it is there already with other values; change it with Set-NetVirtualizationLookupRecord`},
		{`New-NetVirtualizationLookupRecord -VirtualSubnetID 6001 -CustomerAddress 10.1.1.11 -MACAddress 020000000999 -ProviderAddress 192.168.1.10 -Rule TranslationMethodEncap`, `New-NetVirtualizationLookupRecord: VSID 6001 has CA 10.1.1.11 already, with MAC 10:10:10:10:11:05; remove that record first (P6)`},
		{`New-NetVirtualizationLookupRecord -VirtualSubnetID 6001 -CustomerAddress 10.1.1.13 -MACAddress 020000000999 -ProviderAddress 192.168.1.13 -Rule TranslationMethodNat`, `VSID 6001 has one Rule: this is TranslationMethodNat, the record in force is TranslationMethodEncap`},
		{`Set-NetVirtualizationLookupRecord -CustomerAddress 10.1.1.11 -Rule TranslationMethodNat`, `VSID 6001 has one Rule: this is TranslationMethodNat, the record in force is TranslationMethodEncap`},
		{`New-NetVirtualizationCustomerRoute -RoutingDomainID "{99999999-0000-0000-0000-000000000000}" -VirtualSubnetID 6001 -DestinationPrefix 10.9.1.0/24 -NextHop 0.0.0.0`, `VSID 6001 is in one routing domain, not in {11111111-2222-3333-4444-000000000000} and {99999999-0000-0000-0000-000000000000} (P3)`},
		{`Remove-NetVirtualizationCustomerRoute -VirtualSubnetID 6001`, `VSID 6001 needs an on-link route, New-NetVirtualizationCustomerRoute -NextHop 0.0.0.0 with its prefix (P11)`},
	} {
		p, err := Translate("setup.ps1", []byte("# setup\n\n"+c.script), envOf(blue))
		var e *Error
		if p != nil || !errors.As(err, &e) || err.Error() != "setup.ps1:3: "+c.want {
			t.Errorf("%s\nstops with %v\nwant setup.ps1:3: %s", c.script, err, c.want)
		}
	}
}

// What is wrong is named by its own line, wherever the statement began.
func TestFaultLines(t *testing.T) {
	pa := func(index, pa string) string {
		return "New-NetVirtualizationProviderAddress -InterfaceIndex " + index + " -PrefixLength 24 -ProviderAddress " + pa
	}
	for _, c := range []struct {
		script []string // lines
		want   string
	}{
		{[]string{onLink, onLink}, "2: New-NetVirtualizationCustomerRoute: line 1 has made it already"},
		{[]string{onLink, record(), record()}, "3: New-NetVirtualizationLookupRecord: line 2 has made it already"},
		{[]string{onLink, record(), record("-MACAddress 020000000908")},
			"3: New-NetVirtualizationLookupRecord: VSID 9001 has CA 10.9.1.9 already, with MAC 02:00:00:00:09:09; remove that record first (P6)"},
		{[]string{record(), onLink, record("-CustomerAddress 10.9.1.8", "-MACAddress 020000000908", "-Rule TranslationMethodNat")},
			"3: VSID 9001 has one Rule: this is TranslationMethodNat, the record of line 1 is TranslationMethodEncap"},
		{[]string{record(), record("-CustomerAddress 10.9.1.8"), "Write-Host end"},
			"2: VSID 9001 needs an on-link route, New-NetVirtualizationCustomerRoute -NextHop 0.0.0.0 with its prefix (P11)"},
		{[]string{onLink, strings.ReplaceAll(strings.ReplaceAll(onLink, "{9", "{8"), "10.9.1", "10.9.2")},
			"2: VSID 9001 is in one routing domain, not in {99999999-0000-0000-0000-000000000000} and {89999999-0000-0000-0000-000000000000} (P3)"},
		{[]string{pa("(Get-NetAdapter A).ifIndex", "192.168.1.1"), pa("(Get-NetAdapter B).ifIndex", "192.168.1.2")},
			"2: New-NetVirtualizationProviderAddress: -InterfaceIndex: adapter A stands for uplink uplink0 already, so B must be another; choose one for both with --uplink"},
		{[]string{pa("12", "192.168.1.1"), pa("0xD", "192.168.1.2")},
			"2: New-NetVirtualizationProviderAddress: -InterfaceIndex: adapter #12 stands for uplink uplink0 already, so #13 must be another; choose one for both with --uplink"},
		{[]string{"$x = 1 # one", "<# two", "three #> $y = 2", "New-NetVirtualizationLookupRecord `", "   -VirtualSubnetID 1 `", "   -Colour blue"},
			"6: New-NetVirtualizationLookupRecord: no parameter -Colour is known"},
		{[]string{"$x = @(1,", "  2,", "  $z)"}, "3: $z has no value"},
		{[]string{"$x = 'a", "b'; $y = \"c", "$d\""}, "3: $d has no value"},
		{[]string{"Get-NetVirtualizationLookupRecord -VirtualSubnetID 6001 |", "  # nothing", "  where {$_.VMName -eq 'x' -and", "  $_.Colour -eq 'blue'}"},
			"4: where: Colour: a LookupRecord has no such property here"},
		{[]string{"$p = @{", "  VirtualSubnetID = 9001", "  Colour = 'blue'", "}", "New-NetVirtualizationLookupRecord @p"},
			"5: New-NetVirtualizationLookupRecord: no parameter -Colour is known"},
		{[]string{"", "Write-Host \xff"}, "2: this is not text in UTF-8; save the script as such"},
		{[]string{"", "", "Write-Host \x00"}, "3: this is not text in UTF-8; save the script as such"},
		{[]string{strings.Repeat("(", 40) + strings.Repeat(")", 40)}, "1: more than 32 parentheses within each other"},
		{[]string{strings.Repeat("\"$(", 40)}, "1: more than 32 parentheses within each other"},
		{[]string{"$a = '0123456789abcdef'", strings.Repeat("$a = \"$a$a\"\n", 20)}, "14: a string of more than 65536 bytes"},
		{[]string{"$a = 1", strings.Repeat("$a = $a, $a\n", 20)}, "18: an array of more than 65536 values"},
		{[]string{"$a = 1", strings.Repeat("$a = $a, $a\n", 15), strings.Repeat("$b = $a, 1\n", 1000)}, "80: the script computes too much"},
		{[]string{"$a = ''", strings.Repeat("$a = $a, $a\n", 15), strings.Repeat("$a\n", 9)}, "26: more than 16 MiB of output"},
	} {
		p, err := Translate("setup.ps1", []byte(strings.Join(c.script, "\n")), envOf(mustBlue(t)))
		if p != nil || err == nil || err.Error() != "setup.ps1:"+c.want {
			t.Errorf("%.200s\nstops with %v\nwant setup.ps1:%s", strings.Join(c.script, "\n"), err, c.want)
		}
	}
}

func mustBlue(t *testing.T) []policy.Object {
	t.Helper()
	blue, _ := after(t, bare(), host1)
	return blue
}

// With more than one uplink, or none, names decide, or the operator does.
func TestUplinks(t *testing.T) {
	const script = `$NIC = Get-NetAdapter "UPLINK1"
New-NetVirtualizationProviderAddress -InterfaceIndex $NIC.InterfaceIndex -ProviderAddress 192.168.1.1 -PrefixLength 24
New-NetVirtualizationProviderAddress -InterfaceIndex 12 -ProviderAddress 192.168.2.1 -PrefixLength 24
New-NetVirtualizationProviderAddress -InterfaceIndex 13 -ProviderAddress 192.168.3.1 -PrefixLength 24
`
	two := append(bare(), policy.Port{Name: "uplink1", Role: policy.Uplink, MTU: 1500})
	for _, c := range []struct {
		on     []policy.Object
		uplink string
		want   string // the ports of the three PAs, or the error
	}{
		{two, "", "setup.ps1:3: New-NetVirtualizationProviderAddress: -InterfaceIndex: which uplink is meant? This host has uplink0, uplink1; choose one with --uplink"},
		{two, "uplink0", "uplink1 uplink0 uplink0"},
		{two, "uplink1", "uplink1 uplink1 uplink1"},
		{two, "uplink2", `ps1: no uplink is called "uplink2"; there is uplink0, uplink1`},
		{two, "blue1", `ps1: no uplink is called "blue1"; there is uplink0, uplink1`},
		{nil, "", "setup.ps1:2: New-NetVirtualizationProviderAddress: -InterfaceIndex: which uplink is meant? This host has none; choose one with --uplink"},
	} {
		env := envOf(c.on)
		env.Uplink = c.uplink
		p, err := Translate("setup.ps1", []byte(script), env)
		var got string
		if err != nil {
			got = err.Error()
		} else {
			var ports []string
			for _, ch := range p.Changes {
				ports = append(ports, ch.Object.(policy.ProviderAddress).Port)
			}
			got = strings.Join(ports, " ")
		}
		if got != c.want {
			t.Errorf("on %d ports with --uplink %q: %s\nwant %s", len(c.on), c.uplink, got, c.want)
		}
	}
}
