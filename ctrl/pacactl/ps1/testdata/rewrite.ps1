# One PA per VM, addresses rewritten in place.
$r = 'TranslationMethodNat'
New-NetVirtualizationCustomerRoute -RoutingDomainID '{88888888-0000-0000-0000-000000000000}' -VirtualSubnetID 8001 -DestinationPrefix '10.8.0.0/16' -NextHop '0.0.0.0' -Metric 255;
New-NetVirtualizationLookupRecord -VirtualSubnetID 8001 -CustomerAddress '10.8.0.11' -MACAddress '020000000811' -ProviderAddress '192.168.1.81' -Rule $r -UseVmMACAddress $true
New-NetVirtualizationLookupRecord -VirtualSubnetID 8001 -CustomerAddress '10.8.0.12' -MACAddress '020000000812' -ProviderAddress '192.168.2.82' -Rule $r -UseVmMACAddress:$false
New-NetVirtualizationProviderAddress -InterfaceIndex 12 -ProviderAddress '192.168.1.81' -PrefixLength 24
