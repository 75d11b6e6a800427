# Run on what blue-host1.ps1 left: takes all of it back.
$blue = @('{11111111-2222-3333-4444-000000000000}')
Get-VMNetworkAdapter blue1 | Set-VMNetworkAdapter -VirtualSubnetID 0
Get-NetVirtualizationLookupRecord -VirtualSubnetID 6001 |
    Remove-NetVirtualizationLookupRecord -Confirm:$false
$routes = Get-NetVirtualizationCustomerRoute -RoutingDomainID $blue
Remove-NetVirtualizationCustomerRoute -InputObject $routes -PassThru
Remove-NetVirtualizationProviderRoute -InterfaceIndex (Get-NetAdapter).InterfaceIndex
Remove-NetVirtualizationProviderAddress -ProviderAddress 192.168.1.10, 192.168.1.99
Remove-NetVirtualizationProviderAddress -ProviderAddress 192.168.1.99 -ErrorAction SilentlyContinue
